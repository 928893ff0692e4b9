package relay

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/delivery"
	"github.com/sluice-outbox/sluice/internal/kafkalog"
	"github.com/sluice-outbox/sluice/internal/names"
)

// ReadPositions returns the committed position of each shard that has one. It disturbs no owner:
// the positions may have moved on when it returns. They are not older than the call: a deposed
// leader is not believed. If too few brokers answer to know that, it returns an error.
func ReadPositions(ctx context.Context, kafka []kgo.Opt, outboxName string,
	shards int,
) (map[int]Position, error) {
	client, err := kgo.NewClient(kafka...)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	defer client.Close()
	name := names.PositionsTopic(outboxName)
	found, err := kafkalog.Leaders(ctx, client, name)
	if err != nil {
		return nil, err
	}
	positions := make(map[int]Position, shards)
	for shard := range shards {
		p, ok, err := lastPosition(ctx, client, found[name], outboxName, shard)
		if err != nil {
			return nil, fmt.Errorf("position of shard %d in topic %s: %w", shard, name, err)
		}
		if ok {
			positions[shard] = p
		}
	}
	return positions, nil
}

// lastPosition reads the last committed position record of the shard's partition.
func lastPosition(ctx context.Context, client *kgo.Client, topic *kafkalog.Topic, outboxName string,
	shard int,
) (pos Position, ok bool, err error) {
	log, err := kafkalog.Open(client, topic, shard, kgo.ReadCommitted())
	if err != nil {
		return pos, false, err
	}
	key := delivery.PositionKey(outboxName, shard)
	record, err := log.Last(ctx, func(r *kgo.Record) bool { return string(r.Key) == key })
	if err != nil || record == nil || record.Value == nil { // a tombstone: somebody deleted it
		return pos, false, err
	}
	envelope, err := delivery.ParsePosition(record.Value)
	if err != nil || envelope.None() {
		return pos, false, err
	}
	pos, err = ParsePosition(record.Value)
	return pos, err == nil, err
}

// SetPosition replaces a shard's position. It fences the shard's owner first, which then starts
// over from p. Entries at or below p.Entry are never delivered afterwards; those above it are, even
// if they were before. The caller answers for that. A relay with at-least-once delivery cannot be
// fenced: stop it first.
func SetPosition(ctx context.Context, kafka []kgo.Opt, outboxName string, shard int,
	p Position,
) error {
	cfg := Config{Outbox: outboxName, Kafka: kafka}.withDefaults()
	client, err := kgo.NewClient(clientOpts(&cfg)...)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	defer client.Close()
	e := newEngine(&cfg, client, newTopics(client, cfg.Topics, func() int { return 0 }, cfg.Logger))
	defer e.Close()
	return e.Set(ctx, []int{shard}, func(int, []byte) ([]byte, error) { return json.Marshal(p) })
}
