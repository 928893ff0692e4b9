//go:build integration

package suites_test

import (
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/testenv"
)

// chaosFaults is how many relays die, stand still or are replaced in a run of chaos.
const chaosFaults = 24

// TestExactlyOnceWhileRelaysDie: events are written beside a change of state while relays are
// killed, stopped past their session and continued, and replaced. A read_committed reader gets each
// event once, per key in order, and the committed position is the last entry of each shard.
func TestExactlyOnceWhileRelaysDie(t *testing.T) {
	t.Parallel()
	w := shared(t, 4)
	chaos(t, w, testenv.Settings{"session_timeout": session.String()})
	verify(t, w)
}

// TestAtLeastOnceWhileRelaysDie is the same for the other delivery: nothing is lost; duplicates are
// counted.
func TestAtLeastOnceWhileRelaysDie(t *testing.T) {
	t.Parallel()
	w := shared(t, 4)
	chaos(t, w, testenv.Settings{"session_timeout": session.String(), "delivery": "at-least-once"})
	verifyAtLeastOnce(t, w)
}

// chaos writes 200,000 events under a crew to which something happens at random moments while they
// are written.
func chaos(t *testing.T, w *testenv.Env, s testenv.Settings) {
	t.Helper()
	random := integration.Seed(t)
	events := scaled(t, 200_000)
	shop := w.Open(deadline(t, 10*time.Minute),
		testenv.ShopOptions{Events: events, Seed: random.Uint64(), Gated: true})
	c := newCrew(t, w, 5, random, s)
	began := time.Now()
	for n := range chaosFaults {
		from, to := events*n/chaosFaults, events*(n+1)/chaosFaults
		shop.Allow(to)
		shop.Await(time.Minute, from+random.IntN(to-from))
		c.fault()
		// Some faults hit a crew that has just come to work again, most one that is still at it.
		if random.IntN(3) == 0 {
			w.AwaitPassed(time.Minute)
		}
	}
	t.Logf("%d faults in %s", chaosFaults, time.Since(began).Round(time.Second))
	shop.Close(time.Minute)
	c.rest()
	began = time.Now()
	if s["delivery"] == "at-least-once" {
		w.AwaitAcknowledged(2 * time.Minute)
	} else {
		w.AwaitCommitted(2 * time.Minute)
	}
	t.Logf("all delivered %s after the last fault's relays had come back",
		time.Since(began).Round(100*time.Millisecond))
	c.leave()
}
