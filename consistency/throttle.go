package consistency

import (
	"context"
	"sync"
	"time"
)

// throttle keeps an audit from reading faster than it may, so that production does not feel it. Nil
// holds nothing back.
type throttle struct {
	// rate bounds the entries and records read a second, on average over a second; 0: not bounded.
	rate int
	// effort is the share of the time in which there is work, one piece at a time; 0 and 1: always,
	// as much at once as there is.
	effort float64

	working chan struct{} // has a place for the one that works

	mu   sync.Mutex
	free time.Time // when everything taken so far will have been paid for
}

// GentleEffort is the effort of audits that run beside production all the time: with it an audit of
// the Redis and the Kafka that a relay keeps busy costs the relay less than a tenth of its
// throughput, as sluice bench audit measures.
const GentleEffort = 0.2

func newThrottle(rate int, effort float64) *throttle {
	return &throttle{rate: rate, effort: effort, working: make(chan struct{}, 1)}
}

// gentle reports whether work has to be done piece by piece.
func (t *throttle) gentle() bool { return t != nil && t.effort > 0 && t.effort < 1 }

// take waits until n more may be read.
func (t *throttle) take(ctx context.Context, n int) error {
	if t == nil || t.rate <= 0 || n == 0 {
		return ctx.Err()
	}
	t.mu.Lock()
	now := time.Now()
	if t.free.Before(now) {
		t.free = now
	}
	wait := t.free.Sub(now)
	t.free = t.free.Add(time.Duration(n) * time.Second / time.Duration(t.rate))
	t.mu.Unlock()
	return sleep(ctx, wait)
}

// work does a piece of work when no other is being done, and rests after it for as long as the
// effort asks. What slows the work down, a busy server for instance, makes the rest longer too.
func (t *throttle) work(ctx context.Context, piece func() error) error {
	select {
	case t.working <- struct{}{}:
		defer func() { <-t.working }()
	case <-ctx.Done():
		return ctx.Err()
	}
	began := time.Now()
	err := piece()
	if rested := sleep(ctx, t.rest(time.Since(began))); rested != nil {
		return rested
	}
	return err
}

func (t *throttle) rest(worked time.Duration) time.Duration {
	return time.Duration(float64(worked) * (1/t.effort - 1))
}

// sleep waits; it is collector.wait outside tests.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
