package consistency

import (
	"context"
	"sync"
	"time"
)

// pace keeps an audit from reading faster than it may, so that production does not feel it. Nil holds nothing back.
type pace struct {
	// rate bounds the entries and records read a second, on average over a second; 0: not bounded.
	rate int
	// effort is the share of the time in which there is work, one piece at a time; 0 and 1: always, as much at once as there is.
	effort float64

	working chan struct{} // has a place for the one that works

	mu   sync.Mutex
	free time.Time // when everything taken so far will have been paid for
}

// GentleEffort is the effort of audits that run beside production all the time: with it an audit of the Redis and the Kafka that a relay
// keeps busy costs the relay less than a tenth of its throughput, as sluice bench audit measures.
const GentleEffort = 0.2

func newPace(rate int, effort float64) *pace {
	return &pace{rate: rate, effort: effort, working: make(chan struct{}, 1)}
}

// gentle reports whether work has to be done piece by piece.
func (p *pace) gentle() bool { return p != nil && p.effort > 0 && p.effort < 1 }

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

// work does a piece of work when no other is being done, and rests after it for as long as the effort asks. What slows the work down, a busy
// server for instance, makes the rest longer too.
func (p *pace) work(ctx context.Context, piece func() error) error {
	select {
	case p.working <- struct{}{}:
		defer func() { <-p.working }()
	case <-ctx.Done():
		return ctx.Err()
	}
	began := time.Now()
	err := piece()
	if rested := sleep(ctx, p.rest(time.Since(began))); rested != nil {
		return rested
	}
	return err
}

func (p *pace) rest(worked time.Duration) time.Duration {
	return time.Duration(float64(worked) * (1/p.effort - 1))
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
