//go:build integration

package suites_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/relay"
)

// awaitLag waits until the consumer group, as every Redis tool shows it, is at the last
// delivered entry with this lag and nothing pending.
func awaitLag(t *testing.T, w *testenv.Env, shard int, lag int64) {
	t.Helper()
	w.Await(time.Minute, func(ctx context.Context) error {
		g, err := w.Group(ctx, shard)
		if err != nil {
			return err
		}
		if g.Lag != lag || g.Pending != 0 {
			return fmt.Errorf("the group is at %s, %d entries read, lag %d, %d pending; want lag %d",
				g.LastDeliveredID, g.EntriesRead, g.Lag, g.Pending, lag)
		}
		return nil
	})
}

// TestConsumerGroupShowsTheTrueLag: in exactly-once delivery the group follows the committed
// position, so that XINFO GROUPS shows what is not delivered yet, while the relay runs, while it is
// paused and after it has ended.
func TestConsumerGroupShowsTheTrueLag(t *testing.T) {
	t.Parallel()
	w := shared(t, 1)
	ctx := deadline(t, 2*time.Minute)
	r := w.Run(w.Config())
	w.Add(0, 500, "payload")
	w.AwaitCommitted(time.Minute)
	awaitLag(t, w, 0, 0)
	if err := whilePaused(ctx, w, func() error {
		w.Add(0, 70, "payload")
		awaitLag(t, w, 0, 70)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	w.AwaitCommitted(time.Minute)
	awaitLag(t, w, 0, 0)
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	w.Add(0, 30, "payload")
	awaitLag(t, w, 0, 30)
}

// TestConsumerGroupDestroyedIsMadeAgainAtThePosition: never at the end of the stream or at its
// beginning.
func TestConsumerGroupDestroyedIsMadeAgainAtThePosition(t *testing.T) {
	t.Parallel()
	for _, d := range []relay.Delivery{relay.DeliveryExactlyOnce, relay.DeliveryAtLeastOnce} {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			w := shared(t, 1)
			cfg := w.Config()
			cfg.Delivery = d
			w.Run(cfg)
			w.Add(0, 300, "before")
			w.AwaitPassed(time.Minute)
			awaitLag(t, w, 0, 0)
			if n, err := w.Redis.XGroupDestroy(deadline(t, time.Minute), w.Stream(0),
				names.ConsumerGroup).Result(); err != nil || n != 1 {
				t.Fatalf("XGROUP DESTROY: %d, %v", n, err)
			}
			w.Add(0, 200, "after")
			w.Await(time.Minute, func(ctx context.Context) error { _, err := w.Group(ctx, 0); return err })
			w.AwaitPassed(time.Minute)
			awaitLag(t, w, 0, 0)
			verifyDelivery(t, w, d)
		})
	}
}

// TestTrimKeepsWhatIsNotDelivered: with the shortest retention, everything delivered goes, except
// the anchor; nothing goes that is not delivered, however old it is.
func TestTrimKeepsWhatIsNotDelivered(t *testing.T) {
	t.Parallel()
	for _, d := range []relay.Delivery{relay.DeliveryExactlyOnce, relay.DeliveryAtLeastOnce} {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			w := shared(t, 1)
			ctx := deadline(t, 2*time.Minute)
			cfg := w.Config()
			cfg.Delivery, cfg.Trim.Keep = d, time.Millisecond
			r := w.Run(cfg)
			// Redis trims whole nodes of a stream, of a hundred entries by default.
			w.Add(0, 5000, "delivered, then trimmed")
			entries := w.Entries()
			w.AwaitPassed(time.Minute)
			last := entries[len(entries)-1].ID.String()
			w.Await(time.Minute, func(ctx context.Context) error {
				if n, err := w.Redis.XLen(ctx, w.Stream(0)).Result(); err != nil || n > 200 {
					return fmt.Errorf("%d entries of 5000 are still there, %w", n, err)
				}
				return nil
			})
			if got, err := w.Redis.XRange(ctx, w.Stream(0), last, last).Result(); err != nil ||
				len(got) != 1 {
				t.Fatalf("the anchor %s is gone: %v, %v", last, got, err)
			}

			if err := whilePaused(ctx, w, func() error {
				w.Add(0, 3000, "old before it is delivered")
				for _, e := range w.Entries() {
					if e.ID.Compare(entries[4999].ID) > 0 {
						entries = append(entries, e)
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			w.AwaitPassed(time.Minute)
			if err := r.Stop(); err != nil {
				t.Fatal(err)
			}
			report := testenv.Compare(entries, w.Delivered())
			t.Log(report)
			if err := report.AtLeastOnce(); err != nil ||
				d == relay.DeliveryExactlyOnce && report.Duplicated > 0 {
				t.Errorf("%v: %v", d, report.Findings)
			}
		})
	}
}
