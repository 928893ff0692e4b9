package consistency

import (
	"context"
	"sync"
	"time"
)

// pace keeps an audit from reading faster than it may, on average over a second, so that production does not feel it. Nil and a rate of 0 do
// not hold anything back.
type pace struct {
	rate int // entries and records a second

	mu   sync.Mutex
	free time.Time // when everything taken so far will have been paid for
}

// take waits until n more may be read.
func (p *pace) take(ctx context.Context, n int) error {
	if p == nil || p.rate <= 0 || n == 0 {
		return ctx.Err()
	}
	p.mu.Lock()
	now := time.Now()
	if p.free.Before(now) {
		p.free = now
	}
	wait := p.free.Sub(now)
	p.free = p.free.Add(time.Duration(n) * time.Second / time.Duration(p.rate))
	p.mu.Unlock()
	return sleep(ctx, wait)
}

// sleep waits; it is engine.wait outside tests.
func sleep(ctx context.Context, d time.Duration) error {
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
