package delivery

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// budget bounds the bytes that a process holds between a source and Kafka.
type budget struct {
	sem  *semaphore.Weighted
	size int64
}

func newBudget(size int64) *budget { return &budget{semaphore.NewWeighted(size), size} }

// acquire takes a batch's cost. A batch that costs more than the whole budget waits until it is
// alone.
func (b *budget) acquire(ctx context.Context, x *Batch) error {
	x.Cost = min(x.Cost, b.size)
	return b.sem.Acquire(ctx, x.Cost)
}

func (b *budget) release(x *Batch) {
	b.sem.Release(x.Cost)
	x.Cost = 0
}

// Hold takes a batch's cost for a source that delivers it by itself; Free gives it back.
func (e *Engine) Hold(ctx context.Context, b *Batch) error { return e.budget.acquire(ctx, b) }

// Free gives back what Hold took.
func (e *Engine) Free(b *Batch) { e.budget.release(b) }
