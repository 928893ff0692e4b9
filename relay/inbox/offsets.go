package inbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/internal/kafkalog"
)

// memory is the metadata of an offset in Kafka's group: what an inbox has to know to begin where it
// once began, if Redis has lost everything.
type memory struct {
	Version int     `json:"v"`
	Tags    string  `json:"tags"`
	Slots   int     `json:"slots"`
	Topic   TopicID `json:"topic"`
	Start   int64   `json:"start"`
}

// remembered is the layout as the group's offsets have it. What they do not have is missing, or
// begins by the configuration.
func (in *Inbox) remembered(ctx context.Context,
	found map[string]*kafkalog.Topic,
) (*Layout, error) {
	l := &Layout{Topics: map[string]TopicStart{}}
	offsets, err := in.groupOffsets(ctx)
	if err != nil {
		return nil, err
	}
	starts := map[string]map[int32]int64{}
	offsets.Each(func(o kadm.OffsetResponse) {
		var m memory
		t := found[o.Topic]
		if o.Err != nil || t == nil || json.Unmarshal([]byte(o.Metadata), &m) != nil || m.Version != 1 ||
			m.Slots < 1 || m.Topic.differs(t.ID) {
			return
		}
		l.Tags, l.Slots = m.Tags, m.Slots
		if starts[o.Topic] == nil {
			starts[o.Topic] = map[int32]int64{}
		}
		starts[o.Topic][o.Partition] = m.Start
	})
	for topic, known := range starts {
		if l.Topics[topic], err = in.firstStart(ctx, found[topic], known); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// groupOffsets are the offsets that were committed to the group; none if there is no group yet.
func (in *Inbox) groupOffsets(ctx context.Context) (kadm.OffsetResponses, error) {
	offsets, err := kadm.NewClient(in.client).FetchOffsets(ctx, Group(in.cfg.Inbox))
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("kafka: offsets of group %s: %w", Group(in.cfg.Inbox), err)
	}
	return offsets, nil
}

// reached is how far the group's offsets say that a partition once was; 0 if they do not say. It
// tells an older Redis from a newer one, and decides nothing.
func (in *Inbox) reached(ctx context.Context, topic string, partition int32,
	id TopicID,
) (int64, error) {
	offsets, err := in.groupOffsets(ctx)
	if err != nil {
		return 0, err
	}
	o, ok := offsets.Lookup(topic, partition)
	var m memory
	if !ok || o.Err != nil || json.Unmarshal([]byte(o.Metadata), &m) != nil || m.Topic.differs(id) {
		return 0, nil
	}
	return o.At, nil
}

// commitOffsets tells Kafka's group the positions, for tools that show lags.
func (in *Inbox) commitOffsets(ctx context.Context, client *kgo.Client, parts []*partition) error {
	layout := in.layout()
	offsets := map[string]map[int32]kgo.EpochOffset{}
	memories := map[string]map[int32]string{}
	for _, p := range parts {
		pos := p.tracker.position()
		if pos == nil || layout == nil {
			continue
		}
		if offsets[p.topic] == nil {
			offsets[p.topic], memories[p.topic] = map[int32]kgo.EpochOffset{}, map[int32]string{}
		}
		text, err := json.Marshal(memory{
			1, layout.Tags, layout.Slots, pos.Topic,
			layout.Topics[p.topic].of(p.number),
		})
		if err != nil {
			return err
		}
		offsets[p.topic][p.number] = kgo.EpochOffset{Epoch: pos.Epoch, Offset: pos.Next}
		memories[p.topic][p.number] = string(text)
	}
	if len(offsets) == 0 {
		return nil
	}
	ctx = kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error {
		for i := range req.Topics {
			for j := range req.Topics[i].Partitions {
				p := &req.Topics[i].Partitions[j]
				if text, ok := memories[req.Topics[i].Topic][p.Partition]; ok {
					p.Metadata = kmsg.StringPtr(text)
				}
			}
		}
		return nil
	})
	var failed error
	client.CommitOffsetsSync(ctx, offsets,
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, _ *kmsg.OffsetCommitResponse, err error) {
			failed = err
		})
	return failed
}
