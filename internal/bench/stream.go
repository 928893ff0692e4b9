package bench

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-outbox/sluice/internal/retry"
	"github.com/sluice-outbox/sluice/outbox"
)

// stream is events written at a steady rate, and when each became visible.
type stream struct {
	numbering
	// first are written at once and waited for, so that the driver is known to have started; the
	// others are written at the rate, and only the last counted ones of them count.
	first, counted, total int
	rate                  int
	sent                  []atomic.Int64 // by index: since began
	began                 time.Time
	firstSeen             chan struct{} // closed when all of the first have arrived

	mu    sync.Mutex
	tally *tally
	seen  []time.Duration // by index: from sent to visible; 0: not yet
}

// newStream writes for warm before the events of length count.
func newStream(rate int, warm, length time.Duration, first int, numbers numbering) *stream {
	s := &stream{
		numbering: numbers, rate: rate, first: first,
		counted: max(1, int(float64(rate)*length.Seconds())), firstSeen: make(chan struct{}),
	}
	s.total = first + int(float64(rate)*warm.Seconds()) + s.counted
	s.sent, s.seen = make([]atomic.Int64, s.total), make([]time.Duration, s.total)
	s.began = time.Now()
	s.tally = newTally(s.number(s.total-1)+1, s.began)
	return s
}

// see notes an event; it is false when all have arrived.
func (s *stream) see(n int, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.index(n)
	if i < 0 || i >= s.total {
		n = -1
	}
	before := s.tally.arrived
	s.tally.add(n, now)
	if s.tally.arrived == before {
		return true
	}
	if s.tally.arrived == s.first {
		close(s.firstSeen)
	}
	s.seen[i] = max(1, now.Sub(s.began)-time.Duration(s.sent[i].Load()))
	return s.tally.arrived < s.total
}

func (s *stream) arrived() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tally.arrived
}

// writers is how many connections write at once: enough that one slow EXEC does not hold up the
// rate.
const writers = 16

// atOnce is the rate of events that wait for nothing.
var atOnce = math.Inf(1)

// write writes events from to up to at their times through outbox.Writer, one transaction each. The
// time of an event is taken right before its EXEC.
func (s *stream) write(ctx context.Context, b *run, name string, from, to int, rate float64) error {
	w, err := outbox.NewWriter(b.backends.redis, outbox.Config{Outbox: name})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	// The events of a key have to be written in their order: writers divides the number of keys, so
	// that each key is one writer's.
	for worker := range min(writers, to-from) {
		g.Go(func() error {
			for i := from + worker; i < to; i += writers {
				if !retry.Until(ctx, start.Add(time.Duration(float64(i-from)/rate*float64(time.Second)))) {
					return context.Cause(ctx)
				}
				e := b.source.event(s.number(i))
				s.sent[i].Store(int64(time.Since(s.began)))
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
	return g.Wait()
}

// begin writes the events that do not count. It returns when the driver is known to have started
// and everything has had time to become warm.
func (s *stream) begin(ctx context.Context, b *run, name string) error {
	if err := s.write(ctx, b, name, 0, s.first, atOnce); err != nil {
		return err
	}
	select {
	case <-s.firstSeen:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return s.write(ctx, b, name, s.first, s.total-s.counted, float64(s.rate))
}

// metered writes events from to up to and returns how fast that went, and what was spent meanwhile.
// The driver is p.
func (s *stream) metered(ctx context.Context, b *run, name string, p *process, from,
	to int,
) (written float64, spent Usage, err error) {
	before, err := b.meter(ctx, p)
	if err != nil {
		return 0, spent, err
	}
	if err := s.write(ctx, b, name, from, to, float64(s.rate)); err != nil {
		return 0, spent, err
	}
	after, err := b.meter(ctx, p)
	return float64(to-from) / after.at.Sub(before.at).Seconds(), after.since(before), err
}

// latencies are those of the events with indices from from up to to that were sent within a time,
// in µs; nil: any.
func (s *stream) latencies(from, to int, within *span) *hdrhistogram.Histogram {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := hdrhistogram.New(1, (10 * time.Minute).Microseconds(), 3)
	for i := from; i < to; i++ {
		if within == nil || within.has(s.began.Add(time.Duration(s.sent[i].Load()))) {
			// Beyond the histogram's range is the only error, and beyond the limit of a run.
			_ = h.RecordValue(max(1, s.seen[i].Microseconds()))
		}
	}
	return h
}

// span is a time with a beginning and, unless it is zero, an end.
type span struct{ from, to time.Time }

func (s span) has(t time.Time) bool {
	return !t.Before(s.from) && (s.to.IsZero() || t.Before(s.to))
}

func (s *stream) result(written float64, spent Usage) LatencyRun {
	h := s.latencies(s.total-s.counted, s.total, nil)
	at := func(q float64) float64 { return float64(h.ValueAtQuantile(q)) / 1000 }
	s.mu.Lock()
	defer s.mu.Unlock()
	return LatencyRun{
		Events: s.counted, Written: written, P50: at(50), P99: at(99), Max: at(100), Usage: spent,
		Duplicates: s.tally.duplicates + s.tally.strangers, OutOfOrder: s.tally.inversions,
	}
}
