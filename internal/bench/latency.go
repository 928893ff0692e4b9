package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// LatencyRun is one driver at one rate: from before the EXEC that commits an event to its being
// visible.
type LatencyRun struct {
	Round   int     `json:"round,omitempty"`
	Events  int     `json:"events"`
	Written float64 `json:"written_per_second"` // less than the rate: the writer could not keep up
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
	Max     float64 `json:"max_ms"`
	Usage
	Duplicates int `json:"duplicates"`
	OutOfOrder int `json:"out_of_order"`
}

// LatencyResult is a driver's runs at one rate and their medians.
type LatencyResult struct {
	Driver Driver       `json:"driver"`
	Rate   int          `json:"rate"` // events a second, of all shards together
	Median LatencyRun   `json:"median"`
	Runs   []LatencyRun `json:"runs"`
}

func (r LatencyResult) withMedian() LatencyResult {
	m := LatencyRun{}
	for of, into := range map[*float64]func(LatencyRun) *float64{
		&m.P50: func(l LatencyRun) *float64 {
			return &l.P50
		}, &m.P99: func(l LatencyRun) *float64 { return &l.P99 },
		&m.Max: func(l LatencyRun) *float64 {
			return &l.Max
		}, &m.Written: func(l LatencyRun) *float64 { return &l.Written },
	} {
		*of = *medianOf(r.Runs, into)
	}
	m.Usage = medianUsage(r.Runs, func(l LatencyRun) Usage { return l.Usage })
	for _, l := range r.Runs {
		m.Events = l.Events
		m.Duplicates += l.Duplicates
		m.OutOfOrder += l.OutOfOrder
	}
	r.Median = m
	return r
}

// latency lets the drivers take turns at each number of shards and rate.
func (b *run) latency(ctx context.Context) ([]LatencyResult, error) {
	if !b.section(Throughput) { // which has done it
		if err := b.warmUpLatency(ctx); err != nil {
			return nil, err
		}
	}
	var results []LatencyResult
	for _, shards := range b.latencyShards {
		for _, rate := range b.Rates {
			turns, err := b.latencyAt(ctx, b.latencyDrivers(shards, rate), rate)
			if err != nil {
				return nil, err
			}
			results = append(results, turns...)
		}
	}
	return results, nil
}

// warmUpLatency runs each kind once without counting it: a broker that has just been started
// compiles what it meets first.
func (b *run) warmUpLatency(ctx context.Context) error {
	warm := map[Kind]bool{}
	for _, shards := range b.latencyShards {
		for _, rate := range b.Rates {
			for _, c := range b.latencyDrivers(shards, rate) {
				if warm[c.Kind] {
					continue
				}
				warm[c.Kind] = true
				b.Progress("warming up      %s", c)
				if _, err := b.measureLatency(ctx, c, rate); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// measureLatency is one run of any driver.
func (b *run) measureLatency(ctx context.Context, c Driver, rate int) (LatencyRun, error) {
	measure := b.latencyOf
	if c.Kind == KafkaBaseline || c.Kind == KafkaTransaction {
		measure = b.kafkaLatency
	}
	r, err := measure(ctx, c, rate)
	if err != nil {
		return r, fmt.Errorf("%s at %d/s: %w", c, rate, err)
	}
	return r, nil
}

func (b *run) latencyAt(ctx context.Context, drivers []Driver, rate int) ([]LatencyResult, error) {
	results := make([]LatencyResult, len(drivers))
	for round := range b.Rounds {
		for i, c := range drivers {
			r, err := b.measureLatency(ctx, c, rate)
			if err != nil {
				return nil, err
			}
			r.Round = round + 1
			b.Progress("round %d of %d  %-19s at %5d/s  p50 %7.2f ms  p99 %7.2f ms", round+1, b.Rounds, c,
				rate, r.P50, r.P99)
			results[i].Runs = append(results[i].Runs, r)
		}
	}
	for i, c := range drivers {
		results[i].Driver, results[i].Rate = c, rate
		results[i] = results[i].withMedian()
	}
	return results, nil
}

// settle is how long events are written before they count: connections open, code becomes warm.
const settle = time.Second

// latencyOf is one run.
func (b *run) latencyOf(ctx context.Context, c Driver, rate int) (r LatencyRun, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.Limit+b.LatencyFor)
	defer cancel()
	st, err := b.backends.stage(ctx, b.newName(), c.Shards, b.partitions(), nil)
	defer func() { err = errors.Join(err, st.remove(context.WithoutCancel(ctx))) }()
	if err != nil {
		return r, err
	}
	p, err := b.startProcess(ctx, b.job(c, st))
	if err != nil {
		return r, err
	}
	defer p.end()
	w, err := b.backends.watch(st.topic, b.partitions())
	if err != nil {
		return r, err
	}
	defer w.close()
	if err := w.warm(ctx, b.backends.kafka); err != nil {
		return r, err
	}
	if err := p.say(wordStart); err != nil {
		return r, err
	}
	seen, stop := p.watched(ctx)
	defer stop()

	s := newStream(rate, settle, b.LatencyFor, b.source.untilAll(numbering{}, c.Shards, allShards),
		numbering{})
	var (
		g       errgroup.Group
		written float64
		spent   Usage
	)
	g.Go(func() error { return w.until(seen, s.see) })
	g.Go(func() (err error) {
		if err = s.begin(seen, b, st.name); err == nil {
			written, spent, err = s.metered(seen, b, st.name, p, s.total-s.counted, s.total)
		}
		return err
	})
	if err := g.Wait(); err != nil {
		if cause := context.Cause(seen); cause != nil {
			err = cause
		}
		return r, p.failed(fmt.Errorf("%d of %d events arrived: %w", s.arrived(), s.total, err))
	}
	stop()
	if _, err := p.stop(ctx); err != nil {
		return r, err
	}
	return s.result(written, spent), nil
}

func allShards(int) bool { return true }
