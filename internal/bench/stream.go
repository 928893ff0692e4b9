package bench

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-outbox/sluice/outbox"
)

// stream is events written at a steady rate, and when each became visible.
type stream struct {
	rate, total, counted int // the last counted of total are those that count
	sent                 []atomic.Int64
	began                time.Time
	took                 time.Duration // of writing
	firstSeen            chan struct{}

	mu      sync.Mutex
	tally   *tally
	latency *hdrhistogram.Histogram // µs
}

func newStream(rate int, length time.Duration) *stream {
	s := &stream{rate: rate, counted: max(1, int(float64(rate)*length.Seconds())), firstSeen: make(chan struct{})}
	s.total = 1 + int(float64(rate)*settle.Seconds()) + s.counted
	s.sent = make([]atomic.Int64, s.total)
	s.began = time.Now()
	s.tally = newTally(s.total, s.began)
	s.latency = hdrhistogram.New(1, (10 * time.Minute).Microseconds(), 3)
	return s
}

// see notes an event; it is false when all have arrived.
func (s *stream) see(n int, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.tally.arrived
	s.tally.add(n, now)
	if s.tally.arrived == before {
		return true
	}
	if n == 0 {
		close(s.firstSeen)
	}
	if n >= s.total-s.counted {
		// Beyond the histogram's range is the only error, and beyond the limit of a run.
		_ = s.latency.RecordValue(max(1, (now.Sub(s.began) - time.Duration(s.sent[n].Load())).Microseconds()))
	}
	return s.tally.arrived < s.total
}

func (s *stream) arrived() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tally.arrived
}

// writers is how many connections write at once: enough that one slow EXEC does not hold up the rate.
const writers = 16

// write writes events from to up to at their times through outbox.Writer, one transaction each. The time of an event is
// taken right before its EXEC.
func (s *stream) write(ctx context.Context, b *run, name string, from, to int) error {
	w, err := outbox.NewWriter(b.servers.redis, outbox.Config{Outbox: name})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	// The events of a key have to be written in their order: writers divides keys, so that each key is one writer's.
	for worker := range min(writers, to-from) {
		g.Go(func() error {
			for n := from + worker; n < to; n += writers {
				if !sleepUntil(ctx, start.Add(time.Duration(float64(n-from)/float64(s.rate)*float64(time.Second)))) {
					return context.Cause(ctx)
				}
				e := b.source.event(n)
				s.sent[n].Store(int64(time.Since(s.began)))
				if _, err := w.Tx(ctx, e.AggregateID, func(tx *outbox.Tx) error {
					tx.Queue().Set(ctx, tx.StateKey(e.AggregateID), "placed", time.Minute)
					return tx.Append(e)
				}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = g.Wait()
	s.took = time.Since(start)
	return err
}

func (s *stream) result() LatencyRun {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := func(q float64) float64 { return float64(s.latency.ValueAtQuantile(q)) / 1000 }
	return LatencyRun{
		Events: s.counted, Written: float64(s.total-1) / s.took.Seconds(), P50: at(50), P99: at(99), Max: at(100),
		Duplicates: s.tally.duplicates + s.tally.strangers, OutOfOrder: s.tally.inversions,
	}
}

// sleepUntil is false if ctx ended first.
func sleepUntil(ctx context.Context, t time.Time) bool {
	wait := time.Until(t)
	if wait <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
