//go:build integration

package suites_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/outbox"
)

// orders writes events one transaction each through a client that loses calls, and keeps what it
// was told about each.
type orders struct {
	w      *testenv.Env
	client redis.UniversalClient // without faults
	writer *outbox.Writer

	committed map[string]bool // event → what the writer said
	unknown   []string        // events of whose transaction the writer could not say
}

func newOrders(t *testing.T, w *testenv.Env, f *integration.CallFaults) *orders {
	t.Helper()
	writer, err := outbox.NewWriter(w.RedisClient(func(o *redis.UniversalOptions) {
		o.Dialer = f.Dial
	}), outbox.Config{Outbox: w.Outbox})
	if err != nil {
		t.Fatal(err)
	}
	return &orders{w: w, client: w.Redis, writer: writer, committed: map[string]bool{}}
}

// place appends an event and counts it, in one transaction.
func (o *orders) place(t *testing.T, id string, opts ...outbox.TxOption) {
	t.Helper()
	ctx := deadline(t, time.Minute)
	_, err := o.writer.Tx(ctx, "42", func(tx *outbox.Tx) error {
		tx.Queue().Incr(ctx, tx.StateKey("orders"))
		return tx.Append(outbox.Event{
			ID: id, AggregateType: "order", AggregateID: "42",
			Type: "OrderPlaced", Payload: []byte(id),
		})
	}, opts...)
	switch outcome := outbox.OutcomeOf(err); {
	case outcome == outbox.Unknown && errors.Is(err, outbox.ErrUnknownOutcome):
		o.unknown = append(o.unknown, id)
	case outcome == outbox.Unknown:
		t.Fatalf("event %s: %v", id, err)
	default:
		o.committed[id] = outcome == outbox.Committed
	}
}

// check holds the stream and the state against what the writer said, and against each other.
func (o *orders) check(t *testing.T) {
	t.Helper()
	entries := o.w.Entries()
	there := map[string]int{}
	for _, e := range entries {
		there[e.Event]++
	}
	for id, n := range there {
		if n != 1 {
			t.Errorf("event %s is in the stream %d times", id, n)
		}
	}
	for id, committed := range o.committed {
		if got := there[id] == 1; got != committed {
			t.Errorf("event %s: the writer said committed=%v, the stream says %v", id, committed, got)
		}
	}
	n, err := o.client.Get(deadline(t, time.Minute),
		outbox.StateKey(o.w.Outbox, outbox.Shard("42", o.w.Shards), "orders")).Int()
	if err != nil {
		t.Fatal(err)
	}
	if n != len(entries) {
		t.Errorf("the state counts %d orders, the stream has %d events", n, len(entries))
	}
}

// TestLostExec: of the calls of a few transactions, one fails, each in turn. An event exists if and
// only if its change of state was committed, and the writer says nothing that is not so: of a lost
// reply it says that the outcome is unknown.
func TestLostExec(t *testing.T) {
	t.Parallel()
	for _, mode := range []integration.FaultMode{integration.RequestLost, integration.ReplyLost} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			w := shared(t, 1)
			f := integration.RedisFaults()
			o := newOrders(t, w, f)
			calls, err := f.EachCall(mode, mostCalls, func(n int) error {
				for i := range 3 {
					o.place(t, fmt.Sprintf("o-%d-%d", n, i))
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			o.check(t)
			if got := len(o.unknown); (got > 0) != (mode == integration.ReplyLost) {
				t.Errorf("%d transactions of unknown outcome", got)
			}
			w.Run(w.Config())
			w.AwaitCommitted(time.Minute)
			verify(t, w)
			t.Logf("%d calls failed, %d transactions were of unknown outcome", calls, len(o.unknown))
		})
	}
}

// TestLostExecWithIdempotencyKey: the same with an idempotency key for each transaction, which the
// application repeats until it is told that it is committed. Every event is there, once.
func TestLostExecWithIdempotencyKey(t *testing.T) {
	t.Parallel()
	for _, mode := range []integration.FaultMode{integration.RequestLost, integration.ReplyLost} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			w := shared(t, 1)
			f := integration.RedisFaults()
			o := newOrders(t, w, f)
			placed := 0
			calls, err := f.EachCall(mode, mostCalls, func(n int) error {
				for i := range 3 {
					id := fmt.Sprintf("o-%d-%d", n, i)
					for tries := 0; !o.committed[id]; tries++ {
						if tries == 5 {
							return fmt.Errorf("event %s is not committed after %d tries", id, tries)
						}
						o.place(t, id, outbox.WithIdempotencyKey(id))
					}
					placed++
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			o.check(t)
			if got := len(w.Entries()); got != placed {
				t.Errorf("%d events in the stream, %d placed", got, placed)
			}
			w.Run(w.Config())
			w.AwaitCommitted(time.Minute)
			verify(t, w)
			t.Logf("%d calls failed, %d events placed", calls, placed)
		})
	}
}
