package bench

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/outbox"
)

// markEvery is how many entries RedisBaseline asks for at once; as many as the relay does of small
// ones.
const markEvery = 2_000

// redisBaseline reads the whole backlog by XRANGE, one shard after the other, and throws the
// replies away unseen: where each read begins is known beforehand. It is the most that Redis hands
// out on one connection.
func (j job) redisBaseline(client *redis.Client) driving {
	return func(ctx context.Context, done func(int, time.Duration)) error {
		conn, err := openRaw(ctx, client.Options())
		if err != nil {
			return err
		}
		defer conn.close()
		began, size := time.Now(), 0
		for shard, marks := range j.Marks {
			for _, from := range marks {
				n, err := conn.discard("XRANGE", outbox.StreamKey(j.Outbox, shard), from, "+", "COUNT",
					strconv.Itoa(markEvery))
				if err != nil {
					return fmt.Errorf("redis: XRANGE: %w", err)
				}
				size += n
			}
		}
		if least := j.Entries * j.Payload; size < least {
			return fmt.Errorf("redis: XRANGE gave %d bytes, the payloads alone have %d", size, least)
		}
		done(j.Entries, time.Since(began))
		return nil
	}
}

// kafkaBaseline produces the records of the backlog from memory, as fast as the idempotent producer
// takes them. They are made before the start.
func (j job) kafkaBaseline(producer *kgo.Client) driving {
	source := newEvents(j.Payload)
	records := make([]kgo.Record, j.Entries)
	for n := range records {
		e := source.event(n)
		records[n] = kgo.Record{
			Topic: j.Topic, Key: []byte(e.AggregateID), Value: e.Payload,
			Headers: []kgo.RecordHeader{
				{Key: "id", Value: []byte(e.ID)},
				{Key: "type", Value: []byte(e.Type)},
			},
		}
	}
	return func(ctx context.Context, done func(int, time.Duration)) error {
		began := time.Now()
		var failed firstError
		for n := range records {
			producer.Produce(ctx, &records[n], failed.promise)
		}
		if err := producer.Flush(ctx); err != nil {
			return fmt.Errorf("kafka: %w", err)
		}
		if err := failed.get(); err != nil {
			return fmt.Errorf("kafka: %w", err)
		}
		done(j.Entries, time.Since(began))
		return nil
	}
}

// firstError is the promise of many records: it keeps the first failure.
type firstError struct {
	mu  sync.Mutex
	err error
}

func (f *firstError) promise(_ *kgo.Record, err error) {
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

func (f *firstError) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}
