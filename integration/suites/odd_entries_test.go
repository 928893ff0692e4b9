//go:build integration

package suites_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// TestEntryIDFromTheFuture: somebody adds an entry under an explicit ID of years ahead. It is
// delivered, and so is everything after it: order is by ID, no clock is asked.
func TestEntryIDFromTheFuture(t *testing.T) {
	t.Parallel()
	for _, d := range []relay.Delivery{relay.DeliveryExactlyOnce, relay.DeliveryAtLeastOnce} {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			w := shared(t, 1)
			cfg := w.Config()
			cfg.Delivery = d
			cfg.Trim.Keep = time.Millisecond // an entry from the future is not old
			w.Run(cfg)
			w.Add(0, 10, "now")
			future := strconv.FormatInt(time.Now().AddDate(10, 0, 0).UnixMilli(), 10) + "-5"
			w.AddFields(0, future, w.Fields("from the future")...)
			w.Add(0, 10, "after it")
			w.AwaitPassed(time.Minute)
			records := w.Delivered()
			if len(records) != 21 || records[10].Entry.String() != future {
				t.Fatalf("%d records, want 21, the eleventh of entry %s", len(records), future)
			}
			for i := 1; i < len(records); i++ {
				if records[i-1].Entry.Compare(records[i].Entry) >= 0 {
					t.Fatalf("record %d of entry %s comes after entry %s", i, records[i].Entry,
						records[i-1].Entry)
				}
			}
		})
	}
}

// TestStreamReplacedByAnotherType: the key of the stream becomes a string. Writers refuse to write,
// before they have written state; the shard halts and says why. When the stream is back, it goes on
// by itself.
func TestStreamReplacedByAnotherType(t *testing.T) {
	t.Parallel()
	for _, d := range []relay.Delivery{relay.DeliveryExactlyOnce, relay.DeliveryAtLeastOnce} {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			w := shared(t, 1)
			ctx := deadline(t, 2*time.Minute)
			cfg := w.Config()
			cfg.Delivery = d
			w.Run(cfg)
			w.Add(0, 20, "before")
			w.AwaitPassed(time.Minute)

			hidden := w.Stream(0) + ":hidden"
			if err := w.Redis.Rename(ctx, w.Stream(0), hidden).Err(); err != nil {
				t.Fatal(err)
			}
			if err := w.Redis.Set(ctx, w.Stream(0), "a string", 0).Err(); err != nil {
				t.Fatal(err)
			}
			writer, err := outbox.NewWriter(w.Redis, outbox.Config{Outbox: w.Outbox})
			if err != nil {
				t.Fatal(err)
			}
			_, err = writer.Tx(ctx, "42", func(tx *outbox.Tx) error {
				tx.Queue().Incr(ctx, tx.StateKey("orders"))
				return tx.Append(outbox.Event{AggregateType: "order", AggregateID: "42", Type: "OrderPlaced"})
			})
			if !errors.Is(err, outbox.ErrWrongType) || outbox.OutcomeOf(err) != outbox.NotCommitted {
				t.Errorf("the writer says %v, want a wrong type and nothing committed", err)
			}
			if n, err := w.Redis.Exists(ctx, outbox.StateKey(w.Outbox, 0, "orders")).Result(); err != nil ||
				n != 0 {
				t.Errorf("the state was written: %d, %v", n, err)
			}
			st := w.AwaitState(0, relay.StateHalted, time.Minute)
			t.Logf("halted: %s", st.Reason)
			if !strings.Contains(st.Reason, "not a stream") {
				t.Errorf("the reason is %q", st.Reason)
			}

			if err := w.Redis.Rename(ctx, hidden, w.Stream(0)).Err(); err != nil {
				t.Fatal(err)
			}
			w.Add(0, 20, "after")
			w.AwaitState(0, relay.StateRunning, time.Minute)
			w.AwaitPassed(time.Minute)
			if d == relay.DeliveryExactlyOnce {
				verify(t, w)
				return
			}
			verifyAtLeastOnce(t, w)
		})
	}
}
