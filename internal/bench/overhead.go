package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/outbox"
)

// WriterRun is one round of transactions, one after the other on one connection, of either kind in
// turn.
type WriterRun struct {
	Round      int     `json:"round,omitempty"`
	BareP50    float64 `json:"bare_p50_us"`
	BareMean   float64 `json:"bare_mean_us"`
	OutboxP50  float64 `json:"outbox_p50_us"`
	OutboxMean float64 `json:"outbox_mean_us"`
}

// WriterResult is the runs and their medians.
type WriterResult struct {
	Transactions int         `json:"transactions"` // of each kind in a round
	Median       WriterRun   `json:"median"`
	Runs         []WriterRun `json:"runs"`
}

// overhead measures what outbox.Writer adds to the transaction that one would write by hand: MULTI,
// SET, XADD with the six fields, EXEC. The bare one is given its event ID; the writer makes its
// own, checks everything and looks at every reply.
func (b *run) overhead(ctx context.Context) (_ *WriterResult, err error) {
	st, err := b.backends.stage(ctx, b.newName(), 1, 1, nil)
	defer func() { err = errors.Join(err, st.remove(context.WithoutCancel(ctx))) }()
	if err != nil {
		return nil, err
	}
	options, err := redisOptions(b.backends.redisAddr)
	if err != nil {
		return nil, err
	}
	options.PoolSize = 1
	client := redis.NewClient(options)
	defer func() { err = errors.Join(err, client.Close()) }()
	w, err := outbox.NewWriter(client, outbox.Config{Outbox: st.name})
	if err != nil {
		return nil, err
	}
	o := &overhead{
		client: client, writer: w, stream: outbox.StreamKey(st.name, 0),
		state: outbox.StateKey(st.name, 0, "order"), source: b.source,
	}
	if _, err := o.round(ctx, min(b.Writes, 1_000)); err != nil { // to become warm
		return nil, err
	}
	result := &WriterResult{Transactions: b.Writes}
	for round := range b.Rounds {
		r, err := o.round(ctx, b.Writes)
		if err != nil {
			return nil, err
		}
		r.Round = round + 1
		b.Progress("round %d of %d  writer  bare %.1f µs, outbox %.1f µs (p50)", round+1, b.Rounds,
			r.BareP50, r.OutboxP50)
		result.Runs = append(result.Runs, r)
	}
	for of, into := range map[*float64]func(WriterRun) *float64{
		&result.Median.BareP50: func(r WriterRun) *float64 {
			return &r.BareP50
		}, &result.Median.BareMean: func(r WriterRun) *float64 { return &r.BareMean },
		&result.Median.OutboxP50: func(r WriterRun) *float64 {
			return &r.OutboxP50
		}, &result.Median.OutboxMean: func(r WriterRun) *float64 { return &r.OutboxMean },
	} {
		*of = *medianOf(result.Runs, into)
	}
	return result, nil
}

type overhead struct {
	client        *redis.Client
	writer        *outbox.Writer
	stream, state string
	source        *events
	n             int
}

// round takes the two in turn, and which is first in turn too: the second finds the server's caches
// warm.
func (o *overhead) round(ctx context.Context, each int) (r WriterRun, err error) {
	bare, ours := hdrhistogram.New(1, time.Minute.Nanoseconds(), 4),
		hdrhistogram.New(1, time.Minute.Nanoseconds(), 4)
	for i := range each {
		e := o.source.event(o.n)
		o.n++
		pair := []func() error{
			func() error { return timed(bare, func() error { return o.bare(ctx, e) }) },
			func() error { return timed(ours, func() error { return o.outbox(ctx, e) }) },
		}
		for k := range pair {
			if err := pair[(i+k)%2](); err != nil {
				return r, err
			}
		}
	}
	micro := func(ns float64) float64 { return ns / 1000 }
	return WriterRun{
		BareP50: micro(float64(bare.ValueAtQuantile(50))), BareMean: micro(bare.Mean()),
		OutboxP50: micro(float64(ours.ValueAtQuantile(50))), OutboxMean: micro(ours.Mean()),
	}, nil
}

func timed(h *hdrhistogram.Histogram, fn func() error) error {
	start := time.Now()
	if err := fn(); err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	return h.RecordValue(time.Since(start).Nanoseconds())
}

func (o *overhead) bare(ctx context.Context, e outbox.Event) error {
	pipe := o.client.TxPipeline()
	pipe.Set(ctx, o.state, "placed", time.Minute)
	pipe.XAdd(ctx, &redis.XAddArgs{Stream: o.stream, Values: []any{
		outbox.FieldID, e.ID, outbox.FieldAggregateType, e.AggregateType, outbox.FieldAggregateID,
		e.AggregateID,
		outbox.FieldType, e.Type, outbox.FieldPayload, e.Payload, outbox.FieldHeaders, "{}",
	}})
	_, err := pipe.Exec(ctx)
	return err
}

func (o *overhead) outbox(ctx context.Context, e outbox.Event) error {
	e.ID = ""
	_, err := o.writer.Tx(ctx, e.AggregateID, func(tx *outbox.Tx) error {
		tx.Queue().Set(ctx, o.state, "placed", time.Minute)
		return tx.Append(e)
	})
	return err
}
