//go:build integration

package suites_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/relay"
)

// takeoverSlack is what a takeover may take beyond the session timeout of a dead relay. It is many
// times what it should take.
const takeoverSlack = 15 * time.Second

// TestTakeOverInTime: of three relays that share 64 shards one goes, by death or in good order. It
// measures how long it takes until all of its shards deliver again.
func TestTakeOverInTime(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name  string
		limit time.Duration
		gone  func(t *testing.T, p *testenv.Process)
	}{
		{"SIGKILL", session + takeoverSlack, func(t *testing.T, p *testenv.Process) {
			if err := p.Kill(); err != nil {
				t.Fatal(err)
			}
		}},
		{"SIGTERM", takeoverSlack, func(t *testing.T, p *testenv.Process) {
			began := time.Now()
			if err := p.Terminate(deadline(t, takeoverSlack)); err != nil {
				t.Fatal(err)
			}
			if err := p.Wait(deadline(t, time.Second)); err != nil {
				t.Errorf("it did not end with status 0: %v", err)
			}
			t.Logf("the process ended %s after SIGTERM", time.Since(began).Round(10*time.Millisecond))
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := shared(t, 64)
			settings := testenv.Settings{"session_timeout": session.String()}
			relays := []*testenv.Process{w.Spawn(settings), w.Spawn(settings), w.Spawn(settings)}
			owners := awaitShares(t, w, relays...)
			events := scaled(t, 60_000)
			shop := w.Open(deadline(t, 5*time.Minute), testenv.ShopOptions{
				Events: events, Seed: integration.Seed(t).Uint64(), Keys: 10, Gated: true,
			})
			shop.Allow(events / 2)
			shop.Await(time.Minute, events/2)
			w.AwaitPassed(time.Minute)
			shop.Allow(events) // under way when the relay goes

			began := time.Now()
			x.gone(t, relays[0])
			lost := 0
			for shard, owner := range owners {
				if owner == relays[0].Instance {
					w.Add(shard, 1, "after the relay had gone")
					lost++
				}
			}
			w.AwaitPassed(x.limit - time.Since(began))
			t.Logf("all %d shards of the relay, of %d, deliver again %s after the signal", lost, w.Shards,
				time.Since(began).Round(10*time.Millisecond))
			shop.Close(time.Minute)
			w.AwaitCommitted(time.Minute)
			awaitShares(t, w, relays[1:]...)
			verify(t, w)
		})
	}
}

// TestRollingRestart: ten relays are replaced one after the other while events are written. Only
// the shards of the one that goes get another owner, and only as many as the new one takes.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	w := shared(t, 40)
	settings := testenv.Settings{"session_timeout": session.String()}
	var relays []*testenv.Process
	for range 10 {
		relays = append(relays, w.Spawn(settings))
	}
	owners := awaitShares(t, w, relays...)
	events := scaled(t, 40_000)
	shop := w.Open(deadline(t, 15*time.Minute), testenv.ShopOptions{
		Events: events, Seed: integration.Seed(t).Uint64(), Writers: 2, Keys: 10, Gated: true,
	})
	watch := w.WatchStillness(stillnessLimit)
	began := time.Now()
	for n := range relays {
		shop.Allow(events * (n + 1) / len(relays))
		old := relays[n]
		before := owners
		if err := old.Terminate(deadline(t, 30*time.Second)); err != nil {
			t.Fatal(err)
		}
		rest := append(append([]*testenv.Process{}, relays[:n]...), relays[n+1:]...)
		owners = awaitShares(t, w, rest...)
		for shard, owner := range before {
			if owner != old.Instance && owners[shard] != owner {
				t.Errorf("%s left, and shard %d went from %s to %s", old.Instance, shard, owner, owners[shard])
			}
		}
		before = owners
		relays[n] = w.Spawn(settings)
		owners = awaitShares(t, w, relays...)
		for shard, owner := range before {
			if owners[shard] != owner && owners[shard] != relays[n].Instance {
				t.Errorf("%s came, and shard %d went from %s to %s", relays[n].Instance, shard, owner,
					owners[shard])
			}
		}
	}
	t.Logf("%d relays replaced in %s", len(relays), time.Since(began).Round(100*time.Millisecond))
	shop.Close(time.Minute)
	w.AwaitCommitted(time.Minute)
	watch.End()
	verify(t, w)
}

// awaitShares waits until these relays run all shards, each its fair share, and returns the owners.
func awaitShares(t *testing.T, w *testenv.Env, relays ...*testenv.Process) map[int]string {
	t.Helper()
	var owners map[int]string
	w.Await(time.Minute, func(ctx context.Context) error {
		owners = map[int]string{}
		shares := map[string]int{}
		for _, p := range relays {
			shares[p.Instance] = 0
		}
		for shard := range w.Shards {
			st, err := w.Status(ctx, shard)
			if err != nil {
				return err
			}
			if _, ok := shares[st.Instance]; !ok || st.State != relay.StateRunning {
				return fmt.Errorf("shard %d is not run by one of %d relays; %s", shard, len(relays), st)
			}
			owners[shard] = st.Instance
			shares[st.Instance]++
		}
		for name, n := range shares {
			if n < w.Shards/len(relays) {
				return fmt.Errorf("%s runs %d of %d shards, shared by %d relays: %v", name, n, w.Shards,
					len(relays), shares)
			}
		}
		return nil
	})
	return owners
}
