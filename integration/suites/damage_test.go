//go:build integration

package suites_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/relay"
)

// TestDamagedStreamHaltsTheShard: somebody deletes, trims or rewrites a stream by hand. The shard
// halts with evidence, and nothing is delivered that cannot be accounted for; resumed by hand it
// goes on, and counts what was gone.
func TestDamagedStreamHaltsTheShard(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		damage func(ctx context.Context, w *testenv.Env) error
		found  string
		gone   uint64 // entries that were never delivered
	}{
		"stream deleted": {
			func(ctx context.Context, w *testenv.Env) error {
				return w.Redis.Del(ctx, w.Stream(0)).Err()
			}, nothing, 0,
		},
		"everything flushed": {nil, nothing, 0}, // by the test, on a server of its own
		"trimmed past the position": {func(ctx context.Context, w *testenv.Env) error {
			return whilePaused(ctx, w, func() error {
				w.Add(0, 100, "never delivered")
				if n, err := w.Redis.XTrimMaxLen(ctx, w.Stream(0), 40).Result(); err != nil || n == 0 {
					return fmt.Errorf("XTRIM: %d, %w", n, err)
				}
				return nil
			})
		}, another, 60},
		"last entry deleted": {func(ctx context.Context, w *testenv.Env) error {
			last, err := w.Redis.XRevRangeN(ctx, w.Stream(0), "+", "-", 1).Result()
			if err != nil {
				return err
			}
			return w.Redis.XDel(ctx, w.Stream(0), last[0].ID).Err()
		}, nothing, 0},
		"entry ID used again": {func(ctx context.Context, w *testenv.Env) error {
			last, err := w.Redis.XRevRangeN(ctx, w.Stream(0), "+", "-", 1).Result()
			if err != nil {
				return err
			}
			if err := w.Redis.Del(ctx, w.Stream(0)).Err(); err != nil {
				return err
			}
			w.AddFields(0, last[0].ID, w.Fields("another event under the same ID")...)
			return nil
		}, another, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := deadline(t, 2*time.Minute)
			var w *testenv.Env
			if tt.damage == nil {
				w, _ = ownRedis(t)
				tt.damage = func(ctx context.Context, w *testenv.Env) error {
					return w.Redis.FlushAll(ctx).Err()
				}
			} else {
				w = shared(t, 1)
			}
			r := w.Run(w.Config())
			w.Add(0, 200, "delivered before")
			w.AwaitCommitted(time.Minute)
			before := w.Entries()
			at := position(t, w, 0)

			if err := tt.damage(ctx, w); err != nil {
				t.Fatal(err)
			}
			awaitMismatch(t, w, 0, tt.found)
			w.Add(0, 50, "added while the shard is halted")
			if got := len(w.Delivered()); got != len(before) {
				t.Fatalf("%d records while the shard is halted, %d before", got, len(before))
			}
			if r.Ready() == nil {
				t.Error("the relay says that it is ready")
			}

			resume(t, w, 0, at.Entry)
			w.AwaitState(0, relay.StateRunning, time.Minute)
			w.AwaitPassed(time.Minute)
			// What was delivered before and is still there, or not, and what came after: each once.
			var after []testenv.Entry
			for _, e := range w.Entries() {
				if e.ID.Compare(at.Entry) > 0 {
					after = append(after, e)
				}
			}
			report := testenv.Compare(append(before, after...), w.Delivered())
			t.Log(report)
			if err := report.ExactlyOnce(); err != nil {
				t.Error(err)
			}
			if got := position(t, w, 0); tt.gone > 0 && got.Count+got.Missing != uint64(len(before)+100+50) {
				t.Errorf("the position counts %d entries and %d missing; Redis has had %d", got.Count,
					got.Missing, len(before)+100+50)
			}
		})
	}
}

// whilePaused pauses the outbox while it calls f, as `sluice pause` and `sluice resume` do.
func whilePaused(ctx context.Context, w *testenv.Env, f func() error) error {
	if err := w.Redis.HSet(ctx, names.ControlKey(w.Outbox), "pause",
		`{"by":"test","reason":"maintenance"}`).Err(); err != nil {
		return err
	}
	w.AwaitState(0, relay.StatePaused, time.Minute)
	return errors.Join(f(), w.Redis.HDel(ctx, names.ControlKey(w.Outbox), "pause").Err())
}
