package consistency

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestEffort: of several that want to work one does, and all of them together a fifth of the time.
func TestEffort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const pieces, each = 10, 30 * time.Millisecond
		p := newThrottle(0, 0.2)
		began := time.Now()
		working := 0
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range pieces {
					err := p.work(t.Context(), func() error {
						if working++; working > 1 {
							t.Error("two at once")
						}
						time.Sleep(each)
						working--
						return nil
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if took, want := time.Since(began), 4*pieces*each*5; took.Round(time.Millisecond) != want {
			t.Errorf("took %v, want %v", took, want)
		}
	})
}

// TestEffortEnds when its context does, at work, at rest and in the queue.
func TestEffortEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newThrottle(0, 0.001)
		ctx, cancel := context.WithCancel(t.Context())
		errs := make(chan error, 2)
		for range 2 {
			go func() {
				errs <- p.work(ctx, func() error { time.Sleep(time.Second); return nil })
			}()
		}
		time.Sleep(2 * time.Second) // of the bubble's clock: one rests, one waits
		synctest.Wait()
		cancel()
		for range 2 {
			if err := <-errs; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	})
}

func TestRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newThrottle(1000, 0)
		began := time.Now()
		for range 11 {
			if err := p.take(t.Context(), 500); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took.Round(time.Millisecond) != 5*time.Second {
			t.Errorf("5,000 entries before the last take took %v at 1,000 a second", took)
		}
	})
}
