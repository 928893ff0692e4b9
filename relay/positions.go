package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

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
	log, err := openLog(ctx, client, topic, int32(shard), kgo.ReadCommitted())
	if err != nil {
		return pos, fmt.Errorf("position of shard %d in topic %s: %w", shard, topic, err)
	}
	key := positionKey(outboxName, shard)
	record, err := log.last(ctx, func(r *kgo.Record) bool { return string(r.Key) == key })
	if err == nil && record == nil {
		err = errNoPosition
	}
	if err != nil {
		return pos, fmt.Errorf("position of shard %d in topic %s: %w", shard, topic, err)
	}
	if record.Value == nil {
		return pos, errNoPosition // somebody deleted it
	}
	return pos, readPosition(record, &pos)
}

func readPosition(r *kgo.Record, pos *Position) error {
	if err := json.Unmarshal(r.Value, pos); err != nil {
		return fmt.Errorf("topic %s, partition %d, offset %d: %w", r.Topic, r.Partition, r.Offset, err)
	}
	return nil
}
