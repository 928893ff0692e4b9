package retry

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestSleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if err := Sleep(ctx, time.Second); err != nil || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := Sleep(ctx, -time.Second); err != nil || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if Until(ctx, began.Add(time.Hour)) || time.Since(began) != time.Minute {
			t.Errorf("the context ended after %v", time.Since(began))
		}
		if err := Sleep(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("under a context that has ended: %v", err)
		}
	})
}

func TestBackoffGrowsAndNeverEnds(t *testing.T) {
	t.Parallel()
	b := Backoff(100*time.Millisecond, 10*time.Second)
	if d := b.NextBackOff(); d < 50*time.Millisecond || d > 150*time.Millisecond {
		t.Errorf("the first wait is %v", d)
	}
	for range 100 {
		b.NextBackOff()
	}
	if d := b.NextBackOff(); d < 5*time.Second || d > 15*time.Second {
		t.Errorf("a late wait is %v", d)
	}
}
