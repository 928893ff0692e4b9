package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// askTimeout bounds the question to one broker. A broker that does not answer in time does not
// count.
const askTimeout = 3 * time.Second

// Topic is what enough brokers say of a topic.
type Topic struct {
	Name       string
	ID         [16]byte
	Partitions []Partition // by number
	// Err is why nothing is known of it: kerr.TopicAuthorizationFailed for one that this client may
	// not see.
	Err error
}

// Partition is one partition of a Topic.
type Partition struct {
	Leader   int32 // -1: none
	Epoch    int32 // of the leader
	Replicas []int32
	// Err is why the leader is not certain: kerr.LeaderNotAvailable if there is none, or too few
	// replicas answered.
	Err error
}

// Leaders asks all brokers about topics, and takes for each partition the leader of the highest
// epoch. A topic that no broker knows is missing in the answer. The error says that too few brokers
// answered to know anything.
//
// A deposed leader is not believed: at least half of a partition's replicas have to answer. With
// min.insync.replicas of a majority one of them has taken part in everything that a newer leader
// has acknowledged.
func Leaders(ctx context.Context, client *kgo.Client, topics ...string) (map[string]*Topic, error) {
	first, err := metadata(ctx, client, topics)
	if err != nil {
		return nil, fmt.Errorf("kafka: metadata: %w", err)
	}
	answers := map[int32]*kmsg.MetadataResponse{}
	var (
		mu     sync.Mutex
		wg     sync.WaitGroup
		silent []error
	)
	for _, b := range first.Brokers {
		wg.Go(func() {
			asked, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			answer, err := metadata(asked, client.Broker(int(b.NodeID)), topics)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				silent = append(silent, fmt.Errorf("broker %d (%s:%d): %w", b.NodeID, b.Host, b.Port, err))
				return
			}
			answers[b.NodeID] = answer
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if len(answers) == 0 {
		return nil, fmt.Errorf("kafka: no broker answers: %w", errors.Join(silent...))
	}
	found := map[string]*Topic{}
	for _, answer := range answers {
		for i := range answer.Topics {
			t := &answer.Topics[i]
			switch err := kerr.ErrorForCode(t.ErrorCode); {
			case t.Topic == nil, errors.Is(err, kerr.UnknownTopicOrPartition):
			case errors.Is(err, kerr.LeaderNotAvailable), err == nil:
				if err := merge(found, t); err != nil {
					return nil, err
				}
			case errors.Is(err, kerr.TopicAuthorizationFailed):
				if found[*t.Topic] == nil {
					found[*t.Topic] = &Topic{Name: *t.Topic, Err: err}
				}
			default:
				return nil, fmt.Errorf("kafka: metadata of topic %s: %w", *t.Topic, err)
			}
		}
	}
	if len(found) < len(topics) && 2*len(answers) < len(first.Brokers) {
		return nil, fmt.Errorf(
			"kafka: %d of %d brokers answer, too few to know whether topics %s exist: %w",
			len(answers), len(first.Brokers), strings.Join(topics, ", "), errors.Join(silent...))
	}
	for _, t := range found {
		for i := range t.Partitions {
			t.Partitions[i].judge(answers)
		}
	}
	return found, nil
}

func metadata(ctx context.Context, via kmsg.Requestor,
	topics []string,
) (*kmsg.MetadataResponse, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{} // nil would ask for all
	for _, name := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	return req.RequestWith(ctx, via)
}

// merge takes in what one broker says of a topic.
func merge(found map[string]*Topic, t *kmsg.MetadataResponseTopic) error {
	known := found[*t.Topic]
	if known == nil || known.Err != nil {
		known = &Topic{Name: *t.Topic, ID: t.TopicID}
		found[*t.Topic] = known
	}
	if known.ID != t.TopicID {
		return fmt.Errorf(
			"kafka: topic %s was deleted and created again, and not every broker has heard of it", *t.Topic)
	}
	for _, p := range t.Partitions {
		for int(p.Partition) >= len(known.Partitions) {
			known.Partitions = append(known.Partitions, Partition{Leader: -1, Epoch: -1})
		}
		at := &known.Partitions[p.Partition]
		if at.Replicas == nil || p.LeaderEpoch > at.Epoch {
			*at = Partition{Leader: p.Leader, Epoch: p.LeaderEpoch, Replicas: p.Replicas}
		}
	}
	return nil
}

// judge notes whether enough replicas have answered.
func (p *Partition) judge(answers map[int32]*kmsg.MetadataResponse) {
	asked := 0
	for _, id := range p.Replicas {
		if answers[id] != nil {
			asked++
		}
	}
	switch needed := (len(p.Replicas) + 1) / 2; {
	case p.Leader < 0:
		p.Err = kerr.LeaderNotAvailable
	case asked < needed:
		p.Err = fmt.Errorf("%d of %d replicas answer, %d are needed to know the leader", asked,
			len(p.Replicas), needed)
	}
}
