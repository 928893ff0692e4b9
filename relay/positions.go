package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/outbox"
)

// errNoPosition: the positions topic has no committed record for the shard.
var errNoPosition = errors.New("no position")

// ReadPositions returns the committed position of each shard that has one. It disturbs no owner: what it
// returns may be overtaken at once.
func ReadPositions(ctx context.Context, kafka []kgo.Opt, outboxName string, shards int) (map[int]Position, error) {
	client, err := kgo.NewClient(kafka...)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	defer client.Close()
	positions := make(map[int]Position, shards)
	for shard := range shards {
		p, err := lastPosition(ctx, client, outboxName, shard)
		switch {
		case errors.Is(err, errNoPosition):
		case err != nil:
			return nil, err
		default:
			positions[shard] = p
		}
	}
	return positions, nil
}

// SetPosition replaces a shard's position. It fences the shard's owner first, which then starts over from p.
// Entries at or below p.Entry are never delivered afterwards, those above it are, whether they were before or not:
// the caller answers for that.
func SetPosition(ctx context.Context, kafka []kgo.Opt, outboxName string, shard int, p Position) error {
	cfg := Config{Outbox: outboxName, Kafka: kafka}.withDefaults()
	producers, err := newProducers(ctx, &cfg, shard, func(string) int32 { return defaultMaxMessageBytes })
	if err != nil {
		return err
	}
	defer producers.close()
	if err := producers.begin(); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	return producers.commit(ctx, p)
}

// lastPosition reads the last committed record of the shard's positions partition. Whoever wants to rely on it
// has fenced the shard's ids before (invariant 1); then no transaction is open and the record found is final.
func lastPosition(ctx context.Context, client *kgo.Client, outboxName string, shard int) (Position, error) {
	var pos Position
	topic := outbox.PositionsTopic(outboxName)
	record, err := lastRecord(ctx, client, topic, int32(shard), positionKey(outboxName, shard))
	if err != nil {
		return pos, fmt.Errorf("position of shard %d in topic %s: %w", shard, topic, err)
	}
	if record.Value == nil {
		return pos, errNoPosition // somebody deleted it
	}
	if err := json.Unmarshal(record.Value, &pos); err != nil {
		return pos, fmt.Errorf("topic %s, partition %d, offset %d: %w", topic, shard, record.Offset, err)
	}
	return pos, nil
}

// lastRecord finds the last committed record with the key in a partition: it fetches the end of the partition, and
// further and further back while there is none in it. The fetches are explicit because a consumer does not say
// that it has come to the end when the end is markers of transactions.
func lastRecord(ctx context.Context, client *kgo.Client, topic string, partition int32, key string) (*kgo.Record, error) {
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
	start, err := offsetOf(ctx, topic, partition, admin.ListStartOffsets)
	if err != nil {
		return nil, err
	}
	end, err := offsetOf(ctx, topic, partition, admin.ListCommittedOffsets)
	if err != nil {
		return nil, err
	}
	f := fetcher{broker: client.Broker(int(p.Leader)), topic: topic, id: detail.ID, partition: partition}
	for back := int64(64); ; back *= 16 {
		from := max(start, end-back)
		record, err := f.last(ctx, from, end, key)
		if record != nil || err != nil {
			return record, err
		}
		if from == start {
			return nil, errNoPosition
		}
	}
}

func offsetOf(ctx context.Context, topic string, partition int32, list func(context.Context, ...string) (kadm.ListedOffsets, error)) (int64, error) {
	offsets, err := list(ctx, topic)
	if err != nil {
		return 0, err
	}
	o, ok := offsets.Lookup(topic, partition)
	if !ok {
		return 0, kerr.UnknownTopicOrPartition
	}
	return o.Offset, o.Err
}

type fetcher struct {
	broker    *kgo.Broker
	topic     string
	id        [16]byte
	partition int32
}

// last returns the last committed record with the key in [from, end), nil if there is none.
func (f *fetcher) last(ctx context.Context, from, end int64, key string) (last *kgo.Record, err error) {
	for from < end {
		req := kmsg.NewPtrFetchRequest()
		req.MaxWaitMillis = int32((500 * time.Millisecond).Milliseconds())
		req.MinBytes = 1
		req.MaxBytes = 4 << 20
		req.IsolationLevel = 1 // read_committed
		req.SessionEpoch = -1
		t := kmsg.NewFetchRequestTopic()
		t.Topic, t.TopicID = f.topic, f.id
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes = f.partition, from, 4<<20
		t.Partitions = append(t.Partitions, rp)
		req.Topics = append(req.Topics, t)
		resp, err := req.RequestWith(ctx, f.broker)
		if err != nil {
			return nil, err
		}
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return nil, err
		}
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
			return nil, fmt.Errorf("fetch: the answer has no partition")
		}
		part := &resp.Topics[0].Partitions[0]
		fp, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
			Offset: from, IsolationLevel: kgo.ReadCommitted(), Topic: f.topic, Partition: f.partition,
		}, part, kgo.DefaultDecompressor(), nil)
		if fp.Err != nil {
			return nil, fp.Err
		}
		for _, r := range fp.Records {
			if string(r.Key) == key && r.Offset < end {
				last = r
			}
		}
		if next <= from {
			return nil, fmt.Errorf("fetch: no progress at offset %d of %d", from, end)
		}
		from = next
	}
	return last, nil
}
