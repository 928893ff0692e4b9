package delivery

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestBudgetLetsGiantsPass(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(100)
		small, giant := &Batch{Cost: 10}, &Batch{Cost: 1 << 40}
		if err := b.acquire(t.Context(), small); err != nil {
			t.Fatal(err)
		}
		var got atomic.Bool
		go func() {
			if err := b.acquire(t.Context(), giant); err == nil {
				got.Store(true)
			}
		}()
		synctest.Wait()
		if got.Load() {
			t.Error("a batch that needs everything got it while another was held")
		}
		b.release(small)
		synctest.Wait()
		if !got.Load() {
			t.Error("a batch that is larger than the budget never passes")
		}
		small.Cost = 10
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.acquire(ctx, small); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("beside a giant: %v", err)
		}
		b.release(giant)
		if err := b.acquire(t.Context(), small); err != nil {
			t.Error(err)
		}
		b.release(small)
		b.release(small) // gives back nothing
		if !b.sem.TryAcquire(100) {
			t.Error("not everything was given back")
		}
	})
}
