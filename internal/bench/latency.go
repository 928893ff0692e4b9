package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// LatencyRun is one carrier at one rate: from before the EXEC that commits an event to its being visible.
type LatencyRun struct {
	Round      int      `json:"round,omitempty"`
	Events     int      `json:"events"`
	Written    float64  `json:"written_per_second"` // less than the rate: the writer could not keep up
	P50        float64  `json:"p50_ms"`
	P99        float64  `json:"p99_ms"`
	Max        float64  `json:"max_ms"`
	CPU        *float64 `json:"own_cpu_percent"` // of one core, while events were written
	Duplicates int      `json:"duplicates"`
	OutOfOrder int      `json:"out_of_order"`
}

// LatencyResult is a carrier's runs at one rate and their medians.
type LatencyResult struct {
	Carrier Carrier      `json:"carrier"`
	Rate    int          `json:"rate"`
	Median  LatencyRun   `json:"median"`
	Runs    []LatencyRun `json:"runs"`
}

func (r LatencyResult) withMedian() LatencyResult {
	m := LatencyRun{}
	for of, into := range map[*float64]func(LatencyRun) *float64{
		&m.P50: func(l LatencyRun) *float64 { return &l.P50 }, &m.P99: func(l LatencyRun) *float64 { return &l.P99 },
		&m.Max: func(l LatencyRun) *float64 { return &l.Max }, &m.Written: func(l LatencyRun) *float64 { return &l.Written },
	} {
		*of = *medianOf(r.Runs, into)
	}
	m.CPU = medianOf(r.Runs, func(l LatencyRun) *float64 { return l.CPU })
	for _, l := range r.Runs {
		m.Events = l.Events
		m.Duplicates += l.Duplicates
		m.OutOfOrder += l.OutOfOrder
	}
	r.Median = m
	return r
}

// latency lets the carriers take turns at each rate.
func (b *run) latency(ctx context.Context) ([]LatencyResult, error) {
	var results []LatencyResult
	for _, rate := range b.Rates {
		carriers := b.latencyCarriers(rate)
		first := len(results)
		for _, c := range carriers {
			results = append(results, LatencyResult{Carrier: c, Rate: rate})
		}
		for round := range b.Rounds {
			for i, c := range carriers {
				measure := b.latencyOf
				if c.Kind == KafkaAlone || c.Kind == KafkaTransaction {
					measure = b.kafkaLatency
				}
				r, err := measure(ctx, c, rate)
				if err != nil {
					return nil, fmt.Errorf("%s at %d/s: %w", c, rate, err)
				}
				r.Round = round + 1
				b.Progress("round %d of %d  %-16s at %5d/s  p50 %7.2f ms  p99 %7.2f ms", round+1, b.Rounds, c, rate, r.P50, r.P99)
				results[first+i].Runs = append(results[first+i].Runs, r)
			}
		}
	}
	for i := range results {
		results[i] = results[i].withMedian()
	}
	return results, nil
}

// settle is how long events are written before they count: connections open, code becomes warm.
const settle = time.Second

// latencyOf is one run.
func (b *run) latencyOf(ctx context.Context, c Carrier, rate int) (r LatencyRun, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.Limit+b.LatencyFor)
	defer cancel()
	st, err := b.servers.stage(ctx, b.newName(), c.Shards, b.partitions(), nil)
	defer func() { err = errors.Join(err, st.remove(context.WithoutCancel(ctx))) }()
	if err != nil {
		return r, err
	}
	p, err := b.startProcess(ctx, b.job(c, st))
	if err != nil {
		return r, err
	}
	defer p.end()
	w, err := b.servers.watch(st.topic, b.partitions())
	if err != nil {
		return r, err
	}
	defer w.close()
	if err := w.warm(ctx, b.servers.kafka); err != nil {
		return r, err
	}
	if err := p.say(wordStart); err != nil {
		return r, err
	}
	seen, stop := p.watched(ctx)
	defer stop()

	s := newStream(rate, b.LatencyFor)
	var g errgroup.Group
	g.Go(func() error { return w.until(seen, s.see) })
	g.Go(func() error {
		// The first event goes alone, and the rest when it has arrived: that the carrier has started is known then.
		if err := s.write(seen, b, st.name, 0, 1); err != nil {
			return err
		}
		select {
		case <-s.firstSeen:
		case <-seen.Done():
			return context.Cause(seen)
		}
		return s.write(seen, b, st.name, 1, s.total)
	})
	if err := g.Wait(); err != nil {
		if cause := context.Cause(seen); cause != nil {
			err = cause
		}
		return r, p.failed(fmt.Errorf("%d of %d events arrived: %w", s.arrived(), s.total, err))
	}
	stop()
	spent, err := p.stop(ctx)
	if err != nil {
		return r, err
	}
	r = s.result()
	percent := 100 * spent.CPU.Seconds() / s.took.Seconds()
	r.CPU = &percent
	return r, nil
}
