//go:build integration

package suites_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/relay"
)

// TestTakeover measures how long a shard is still when its relay goes: in good order (SIGTERM),
// by death (SIGKILL) and by standing still (SIGSTOP). It prints; it only fails when a shard is not
// taken over at all. The relay that got SIGTERM ends with status 0.
func TestTakeover(t *testing.T) {
	for name, gone := range map[string]func(t *testing.T, p *testenv.Process){
		"SIGTERM": func(t *testing.T, p *testenv.Process) {
			began := time.Now()
			if err := p.Terminate(deadline(t, 30*time.Second)); err != nil {
				t.Fatal(err)
			}
			if err := p.Wait(deadline(t, time.Second)); err != nil {
				t.Errorf("it did not end with status 0: %v", err)
			}
			t.Logf("the process ended within %s of SIGTERM", time.Since(began).Round(time.Millisecond))
		},
		"SIGKILL": func(t *testing.T, p *testenv.Process) {
			if err := p.Kill(); err != nil {
				t.Fatal(err)
			}
		},
		"SIGSTOP": func(t *testing.T, p *testenv.Process) {
			if err := p.Stop(); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := shared(t, 4)
			first := w.Spawn(testenv.Settings{"session_timeout": session.String()})
			second := w.Spawn(testenv.Settings{"session_timeout": session.String()})
			awaitOwners(t, w, first.Instance, second.Instance)
			ctx, stop := context.WithCancel(deadline(t, 5*time.Minute))
			defer stop()
			shop := w.Open(ctx, testenv.ShopOptions{
				Events: scaled(t, 40_000),
				Seed:   integration.Seed(t).Uint64(), Writers: 2, Gated: true,
			})
			shop.Allow(1000)
			shop.Await(time.Minute, 1000)
			w.AwaitPassed(time.Minute)

			began := time.Now()
			gone(t, first)
			shop.Allow(2000)
			shop.Await(time.Minute, 2000)
			w.AwaitPassed(time.Minute)
			t.Logf("%s: every shard delivers again %s after the signal", name,
				time.Since(began).Round(10*time.Millisecond))
			awaitOwners(t, w, second.Instance)
			if name == "SIGSTOP" {
				if err := first.Cont(); err != nil {
					t.Fatal(err)
				}
				awaitOwners(t, w, first.Instance, second.Instance)
			}
			shop.Allow(scaled(t, 40_000))
			shop.Close(time.Minute)
			w.AwaitCommitted(time.Minute)
			verify(t, w)
		})
	}
}

// awaitOwners waits until these relays, and no others, run the shards.
func awaitOwners(t *testing.T, w *testenv.Env, names ...string) {
	t.Helper()
	w.Await(time.Minute, func(ctx context.Context) error {
		var owners []string
		for shard := range w.Shards {
			st, err := w.Status(ctx, shard)
			if err != nil {
				return err
			}
			if st.State != relay.StateRunning {
				return fmt.Errorf("shard %d is %q, told by %q", shard, st.State, st.Instance)
			}
			owners = append(owners, st.Instance)
		}
		slices.Sort(owners)
		if owners = slices.Compact(owners); !slices.Equal(owners, names) {
			return fmt.Errorf("the shards are run by %v, want %v", owners, names)
		}
		return nil
	})
}
