package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// loop is what one writes who has a stream, a topic and an afternoon: read a batch through the
// consumer group, produce it, wait until it is confirmed, acknowledge it. It keeps order and loses
// nothing; after a crash it sends the last batch again. One goroutine a shard.
//
// It is as fast as that design allows: large batches, the XACK of a batch in the same round trip as
// the read of the next, a flush instead of waiting for the linger, the idempotent producer with the
// relay's settings. It does not read ahead: to have several batches on their way, and still
// acknowledge and repeat them in order when one fails, is another design.
func (j job) loop(client *redis.Client, producer *kgo.Client) driving {
	return func(ctx context.Context, _ func(int, time.Duration)) error {
		g, ctx := errgroup.WithContext(ctx)
		for shard := range j.Driver.Shards {
			g.Go(func() error {
				return j.loopShard(ctx, client, producer, outbox.StreamKey(j.Outbox, shard))
			})
		}
		return g.Wait()
	}
}

func (j job) loopShard(ctx context.Context, client *redis.Client, producer *kgo.Client,
	stream string,
) error {
	read := &redis.XReadGroupArgs{
		Group: names.ConsumerGroup, Consumer: "loop", Streams: []string{stream, ">"},
		Count: int64(j.Batch), Block: time.Second,
	}
	var done []string // delivered, to be acknowledged with the next read
	for ctx.Err() == nil {
		pipe := client.Pipeline()
		var acked *redis.IntCmd
		if len(done) > 0 {
			acked = pipe.XAck(ctx, stream, names.ConsumerGroup, done...)
		}
		next := pipe.XReadGroup(ctx, read)
		_, _ = pipe.Exec(ctx) // the errors are looked at one by one
		if acked != nil && acked.Err() != nil {
			return fmt.Errorf("redis: XACK: %w", acked.Err())
		}
		done = done[:0]
		streams, err := next.Result()
		if errors.Is(err, redis.Nil) {
			continue // nothing came
		}
		if err != nil {
			return fmt.Errorf("redis: XREADGROUP: %w", err)
		}
		var failed firstError
		for _, m := range streams[0].Messages {
			record, err := loopRecord(j.Topic, m)
			if err != nil {
				return err
			}
			producer.Produce(ctx, record, failed.promise)
			done = append(done, m.ID)
		}
		if err := producer.Flush(ctx); err != nil {
			return fmt.Errorf("kafka: %w", err)
		}
		if err := failed.get(); err != nil {
			return fmt.Errorf("kafka: %w", err)
		}
	}
	return nil
}

// loopRecord makes the record of an entry, as far as the six fields go.
func loopRecord(topic string, m redis.XMessage) (*kgo.Record, error) {
	field := func(name string) string {
		s, _ := m.Values[name].(string)
		return s
	}
	record := &kgo.Record{
		Topic: topic,
		Key:   []byte(field(outbox.FieldAggregateID)),
		Value: []byte(field(outbox.FieldPayload)),
		Headers: []kgo.RecordHeader{
			{Key: "id", Value: []byte(field(outbox.FieldID))},
			{Key: "type", Value: []byte(field(outbox.FieldType))},
		},
	}
	if h := strings.TrimSpace(field(outbox.FieldHeaders)); h != "" && h != "{}" {
		var headers map[string]string
		if err := json.Unmarshal([]byte(h), &headers); err != nil {
			return nil, fmt.Errorf("entry %s: headers: %w", m.ID, err)
		}
		for k, v := range headers {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: k, Value: []byte(v)})
		}
	}
	return record, nil
}
