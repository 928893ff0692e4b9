package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// partitionLog reads one partition with explicit fetches: a consumer does not say that it has come to the end when the end is
// markers of transactions.
type partitionLog struct {
	broker    *kgo.Broker
	topic     string
	id        [16]byte
	partition int32
	level     kgo.IsolationLevel
	// start <= end, as they were when the log was opened: the first offset, and the last stable offset or, if level is read_uncommitted, the
	// high watermark.
	start, end int64
}

// openLog finds the partition's leader and samples its offsets.
func openLog(ctx context.Context, client *kgo.Client, topic string, partition int32, level kgo.IsolationLevel) (*partitionLog, error) {
	admin := kadm.NewClient(client)
	details, err := admin.ListTopics(ctx, topic)
	if err != nil {
		return nil, err
	}
	detail := details[topic]
	if errors.Is(detail.Err, kerr.UnknownTopicOrPartition) {
		return nil, fmt.Errorf("the topic does not exist: run sluice migrate apply")
	} else if detail.Err != nil {
		return nil, detail.Err
	}
	p, ok := detail.Partitions[partition]
	if !ok {
		return nil, fmt.Errorf("the topic has %d partitions, none for this shard: run sluice migrate status", len(detail.Partitions))
	}
	if p.Leader < 0 {
		return nil, kerr.LeaderNotAvailable
	}
	l := &partitionLog{broker: client.Broker(int(p.Leader)), topic: topic, id: detail.ID, partition: partition, level: level}
	listEnd := admin.ListCommittedOffsets
	if level == kgo.ReadUncommitted() {
		listEnd = admin.ListEndOffsets
	}
	for _, x := range []struct {
		list func(context.Context, ...string) (kadm.ListedOffsets, error)
		into *int64
	}{{admin.ListStartOffsets, &l.start}, {listEnd, &l.end}} {
		offsets, err := x.list(ctx, topic)
		if err != nil {
			return nil, err
		}
		o, ok := offsets.Lookup(topic, partition)
		if !ok {
			return nil, kerr.UnknownTopicOrPartition
		}
		if o.Err != nil {
			return nil, o.Err
		}
		*x.into = o.Offset
	}
	return l, nil
}

// scan gives fn the records in [from, to), markers of transactions among them if the level is read_uncommitted.
func (l *partitionLog) scan(ctx context.Context, from, to int64, fn func(*kgo.Record)) error {
	uncommitted := l.level == kgo.ReadUncommitted()
	for from < to {
		req := kmsg.NewPtrFetchRequest()
		req.MaxWaitMillis = int32((500 * time.Millisecond).Milliseconds())
		req.MinBytes = 1
		req.MaxBytes = 4 << 20
		if !uncommitted {
			req.IsolationLevel = 1
		}
		req.SessionEpoch = -1
		t := kmsg.NewFetchRequestTopic()
		t.Topic, t.TopicID = l.topic, l.id
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes = l.partition, from, 4<<20
		t.Partitions = append(t.Partitions, rp)
		req.Topics = append(req.Topics, t)
		resp, err := req.RequestWith(ctx, l.broker)
		if err != nil {
			return err
		}
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return err
		}
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
			return fmt.Errorf("fetch: the answer has no partition")
		}
		fp, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
			Offset: from, IsolationLevel: l.level, KeepControlRecords: uncommitted, Topic: l.topic, Partition: l.partition,
		}, &resp.Topics[0].Partitions[0], kgo.DefaultDecompressor(), nil)
		if fp.Err != nil {
			return fp.Err
		}
		for _, r := range fp.Records {
			if r.Offset < to {
				fn(r)
			}
		}
		if next <= from {
			return fmt.Errorf("fetch: no progress at offset %d of %d", from, to)
		}
		from = next
	}
	return nil
}

// last returns the last record that matches, nil if there is none. It looks at the end first, and further and further back.
func (l *partitionLog) last(ctx context.Context, match func(*kgo.Record) bool) (last *kgo.Record, err error) {
	for back := int64(64); ; back *= 16 {
		from := max(l.start, l.end-back)
		err := l.scan(ctx, from, l.end, func(r *kgo.Record) {
			if match(r) {
				last = r
			}
		})
		if last != nil || err != nil || from == l.start {
			return last, err
		}
	}
}
