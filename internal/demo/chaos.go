package demo

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-outbox/sluice/internal/retry"
)

// chaos kills and pauses relays. A killed one is replaced after a while by a new one; a paused one
// comes back when others have had its shards for some time, and does not know it. One relay is
// always left alone.
type chaos struct {
	fleet *fleet
	rng   *rand.Rand

	kills, pauses atomic.Int64
	last          atomic.Value // of string
}

// Between two acts, and how long a dead relay is missing and a paused one silent. A pause outlasts
// the session.
var (
	actEvery   = span{300 * time.Millisecond, 900 * time.Millisecond}
	missingFor = span{200 * time.Millisecond, 1200 * time.Millisecond}
	pauseFor   = span{sessionTimeout * 13 / 10, sessionTimeout * 22 / 10}
)

type span struct{ least, most time.Duration }

func (s span) pick(rng *rand.Rand) time.Duration {
	return s.least + time.Duration(rng.Int64N(int64(s.most-s.least)))
}

// run goes on until ctx ends, and then returns when every pause is over.
func (c *chaos) run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	failed := make(chan error, 1)
	for retry.Until(ctx, time.Now().Add(actEvery.pick(c.rng))) {
		select {
		case err := <-failed:
			return err
		default:
		}
		up := c.fleet.up()
		if len(up) < 2 {
			continue
		}
		victim := up[c.rng.IntN(len(up))]
		// The first two are one of each, so that a short run has both.
		if n := c.kills.Load() + c.pauses.Load(); n == 0 || n > 1 && c.rng.IntN(2) == 0 {
			c.kills.Add(1)
			c.last.Store("killed " + victim.name)
			c.fleet.kill(victim)
			back := time.Now().Add(missingFor.pick(c.rng))
			wg.Go(func() {
				retry.Until(ctx, back) // at the end the replacement comes at once
				if err := c.fleet.start(ctx); err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			})
			continue
		}
		c.pauses.Add(1)
		c.last.Store("paused " + victim.name)
		c.fleet.freeze(victim)
		until := time.Now().Add(pauseFor.pick(c.rng))
		wg.Go(func() {
			// Not cut short by the end: a pause shorter than the session would show nothing.
			retry.Until(context.WithoutCancel(ctx), until)
			c.fleet.thaw(victim)
			c.last.Store("continued " + victim.name)
		})
	}
	return nil
}

func (c *chaos) latest() string {
	text, _ := c.last.Load().(string)
	return text
}
