// Package retry waits between attempts, and gives up waiting when its context ends.
package retry

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Sleep waits for d. It returns ctx's error, at once, when ctx ends first; of a d that is not above
// 0 it returns what ctx says now.
func Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Until is Sleep until t, and reports whether t has come.
func Until(ctx context.Context, t time.Time) bool { return Sleep(ctx, time.Until(t)) == nil }

// Backoff gives waits that grow from about first to about most, with jitter, without end.
func Backoff(first, most time.Duration) *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(first), backoff.WithMaxInterval(most), backoff.WithMaxElapsedTime(0))
}
