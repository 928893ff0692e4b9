package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/internal/retry"
)

// baselineRate is the highest rate at which Kafka alone is asked: it is given one record after the
// other.
const baselineRate = 100

// kafkaLatency is how long a record takes from being produced to being visible, without any Redis:
// what no driver can go below. With KafkaTransaction it is in a transaction with a record of a
// second partition, as an event is with its position, and two transactional ids take turns.
func (b *run) kafkaLatency(ctx context.Context, c Driver, rate int) (r LatencyRun, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.Limit+b.LatencyFor)
	defer cancel()
	st, err := b.backends.stage(ctx, b.newName(), c.Shards, b.partitions(), nil)
	defer func() { err = errors.Join(err, st.remove(context.WithoutCancel(ctx))) }()
	if err != nil {
		return r, err
	}
	var producers []*kgo.Client
	for _, id := range []string{"a", "b"} {
		opts := b.job(c, st).producerOpts()
		if c.Kind == KafkaTransaction {
			opts = append(opts, kgo.TransactionalID(st.name+"."+id))
		}
		producer, err := kgo.NewClient(opts...)
		if err != nil {
			return r, fmt.Errorf("kafka: %w", err)
		}
		defer producer.Close()
		producers = append(producers, producer)
	}
	w, err := b.backends.watch(st.topic, b.partitions())
	if err != nil {
		return r, err
	}
	defer w.close()
	if err := w.warm(ctx, b.backends.kafka); err != nil {
		return r, err
	}
	s := newStream(rate, settle, b.LatencyFor, 0, numbering{})
	var (
		written float64
		spent   Usage
	)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.until(ctx, s.see) })
	g.Go(func() error {
		start := time.Now()
		var (
			before meter
			err    error
		)
		for n := range s.total {
			if !retry.Until(ctx, start.Add(time.Duration(float64(n)/float64(rate)*float64(time.Second)))) {
				return context.Cause(ctx)
			}
			if n == s.total-s.counted {
				if before, err = b.meter(ctx, nil); err != nil {
					return err
				}
			}
			e := b.source.event(n)
			records := []*kgo.Record{{Topic: st.topic, Key: []byte(e.AggregateID), Value: e.Payload}}
			if c.Kind == KafkaTransaction {
				records = append(records, &kgo.Record{
					Topic: names.PositionsTopic(st.name),
					Key:   []byte(st.name), Value: []byte("a position"),
				})
			}
			s.sent[n].Store(int64(time.Since(s.began)))
			if err := send(ctx, producers[n%2], records); err != nil {
				return fmt.Errorf("kafka: %w", err)
			}
		}
		after, err := b.meter(ctx, nil)
		written, spent = float64(s.counted)/after.at.Sub(before.at).Seconds(), after.since(before)
		return err
	})
	if err := g.Wait(); err != nil {
		return r, fmt.Errorf("%d of %d records arrived: %w", s.arrived(), s.total, err)
	}
	return s.result(written, spent), nil
}

// send produces the records, several in a transaction, and returns when they are confirmed.
func send(ctx context.Context, producer *kgo.Client, records []*kgo.Record) error {
	transaction := len(records) > 1
	if transaction {
		if err := producer.BeginTransaction(); err != nil {
			return err
		}
	}
	var failed firstError
	for _, r := range records {
		producer.Produce(ctx, r, failed.promise)
	}
	if err := errors.Join(producer.Flush(ctx), failed.get()); err != nil || !transaction {
		return err
	}
	return producer.EndTransaction(ctx, kgo.TryCommit)
}
