package outbox_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/outbox"
)

func TestTxWritesStateAndEvents(t *testing.T) {
	ctx := t.Context()
	m := newMemory(t, 1, outbox.Config{})
	e := event("42")
	e.ID, e.Headers = "my-id", map[string]string{"tenant": "a"}

	var counter *redis.IntCmd
	res, err := m.writer.Tx(ctx, "42", func(tx *outbox.Tx) error {
		counter = tx.Queue().Incr(ctx, "counter")
		if err := tx.Append(e); err != nil {
			return err
		}
		tx.Queue().Set(ctx, tx.StateKey("order"), "placed", 0)
		return tx.Append(event("42"), event("42"))
	})
	if err != nil {
		t.Fatal(err)
	}
	if counter.Val() != 1 {
		t.Errorf("result of a queued command: %d", counter.Val())
	}
	if v, _ := m.Get("{orders:0}:order"); v != "placed" {
		t.Errorf("state is %q", v)
	}

	entries := m.entries(t, 0)
	if len(entries) != 3 || res.Shard != 0 || res.Attempts != 1 || res.AlreadyAppended {
		t.Fatalf("%d entries, %+v", len(entries), res)
	}
	for i, entry := range entries {
		if entry.ID != res.Entries[i] || entry.Values["id"] != res.Events[i] {
			t.Errorf("entry %d is %s of %s, result says %s of %s", i, entry.ID, entry.Values["id"],
				res.Entries[i], res.Events[i])
		}
		more, _ := entry.Values["more"].(string)
		if want := []string{"2", "1", ""}[i]; more != want {
			t.Errorf("entry %d: more is %q, want %q", i, more, want)
		}
	}
	if res.Events[0] != "my-id" || entries[0].Values["headers"] != `{"tenant":"a"}` ||
		entries[1].Values["headers"] != "{}" {
		t.Errorf("first entry: %v", entries[0])
	}
	if id, err := uuid.Parse(res.Events[1]); err != nil || id.Version() != 7 {
		t.Errorf("generated id %q: %v", res.Events[1], err)
	}
}

func TestTxWithoutEventsOrWithoutAnything(t *testing.T) {
	ctx := t.Context()
	m := newMemory(t, 1, outbox.Config{})
	res, err := m.writer.Tx(ctx, "42", func(tx *outbox.Tx) error {
		tx.Queue().Set(ctx, "state", "1", 0)
		return nil
	})
	if err != nil || len(res.Entries) != 0 || !m.Exists("state") {
		t.Errorf("state only: %+v, %v", res, err)
	}
	before := m.CommandCount()
	if _, err := m.writer.Tx(ctx, "42", func(*outbox.Tx) error { return nil }); err != nil {
		t.Error(err)
	}
	if n := m.CommandCount() - before; n > 1 { // at most the TYPE that had no proof yet
		t.Errorf("an empty transaction sent %d commands", n)
	}
}

// TestTxSendsNothingAfterAnError covers everything that is found before EXEC.
func TestTxSendsNothingAfterAnError(t *testing.T) {
	ctx := t.Context()
	mine := errors.New("mine")
	other := otherShard(t, "42", 4)
	tooLarge := event("42")
	tooLarge.Payload = make([]byte, outbox.DefaultMaxPayload+1)
	for name, c := range map[string]struct {
		fn   func(tx *outbox.Tx) error
		want func(error) bool
	}{
		"error of the function": {
			func(tx *outbox.Tx) error { return errors.Join(tx.Append(event("42")), mine) },
			func(err error) bool { return errors.Is(err, mine) },
		},
		"lock lost says the function": {
			func(*outbox.Tx) error { return redis.TxFailedErr },
			func(err error) bool {
				return errors.Is(err, redis.TxFailedErr) && !errors.Is(err, outbox.ErrConflict)
			},
		},
		"another shard": {
			func(tx *outbox.Tx) error { return tx.Append(event("42"), event(other)) },
			func(err error) bool {
				var e *outbox.ShardError
				return errors.As(err, &e) && e.Index == 1 && e.Key == other
			},
		},
		"ignored error of Append": {
			func(tx *outbox.Tx) error { _ = tx.Append(tooLarge); _ = tx.Append(event("42")); return nil },
			func(err error) bool { var e *outbox.LimitError; return errors.As(err, &e) },
		},
		"reading without a watch": {
			func(tx *outbox.Tx) error { return tx.Read().Get(ctx, "x").Err() },
			func(err error) bool { return errors.Is(err, outbox.ErrNotWatching) },
		},
		"reading many without a watch": {
			func(tx *outbox.Tx) error {
				_, err := tx.Read().Pipelined(ctx, func(p redis.Pipeliner) error {
					p.Get(ctx, "x")
					return nil
				})
				return err
			},
			func(err error) bool { return errors.Is(err, outbox.ErrNotWatching) },
		},
		"executing by hand": {
			func(tx *outbox.Tx) error { _, err := tx.Queue().Exec(ctx); return err },
			func(err error) bool { return strings.Contains(err.Error(), "executed by Writer.Tx") },
		},
		"joining itself": {
			func(tx *outbox.Tx) error { _, err := m(t, tx); return err },
			func(err error) bool { return errors.Is(err, outbox.ErrNotTransaction) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(t, 4, outbox.Config{})
			_, err := m.writer.Tx(ctx, "42", func(tx *outbox.Tx) error {
				tx.Queue().Set(ctx, "state", "changed", 0)
				return c.fn(tx)
			})
			if err == nil || !c.want(err) || outbox.OutcomeOf(err) != outbox.NotCommitted {
				t.Errorf("got %v", err)
			}
			if m.Exists("state") || len(m.Keys()) != 1 {
				t.Errorf("something was written: %q", m.Keys())
			}
		})
	}
}

// m joins the transaction's own pipeline with a second writer.
func m(t *testing.T, tx *outbox.Tx) (*outbox.Appended, error) {
	return newMemory(t, 4, outbox.Config{}).writer.Append(t.Context(), tx.Queue(), event("42"))
}

// otherShard is a key that is not on the shard of key.
func otherShard(t testing.TB, key string, shards int) string {
	t.Helper()
	for c := 'a'; c <= 'z'; c++ {
		if outbox.Shard(string(c), shards) != outbox.Shard(key, shards) {
			return string(c)
		}
	}
	t.Fatal("no key of another shard")
	return ""
}

func TestTxWatches(t *testing.T) {
	ctx := t.Context()
	m := newMemory(t, 1, outbox.Config{})
	m.set(t, "stock", "3")
	var attempts []int
	res, err := m.writer.Tx(ctx, "42", func(tx *outbox.Tx) error {
		attempts = append(attempts, tx.Attempt())
		stock, err := tx.Read().Get(ctx, "stock").Int()
		if err != nil {
			return err
		}
		if tx.Attempt() == 1 {
			m.client.Decr(ctx, "stock") // somebody else is faster
		}
		tx.Queue().Set(ctx, "stock", stock-1, 0)
		return tx.Append(event("42"))
	}, outbox.WithWatch("stock"))
	if err != nil || res.Attempts != 2 || !slices.Equal(attempts, []int{1, 2}) {
		t.Fatalf("%+v, attempts %v, %v", res, attempts, err)
	}
	if v, _ := m.Get("stock"); v != "1" {
		t.Errorf("stock is %s, want 1", v)
	}
	if n := len(m.entries(t, 0)); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
}

func TestTxGivesUpOnConflict(t *testing.T) {
	ctx := t.Context()
	m := newMemory(t, 1, outbox.Config{Attempts: 3})
	res, err := m.writer.Tx(ctx, "42", func(tx *outbox.Tx) error {
		m.client.Incr(ctx, "stock")
		return tx.Append(event("42"))
	}, outbox.WithWatch("stock"))
	if !errors.Is(err, outbox.ErrConflict) || !errors.Is(err, redis.TxFailedErr) || res.Attempts != 3 {
		t.Errorf("%+v, %v", res, err)
	}
	if n := len(m.entries(t, 0)); n != 0 {
		t.Errorf("%d entries", n)
	}
}

// TestTxReaderCannotEndTheWatch: MULTI on the watching connection would.
func TestTxReaderCannotEndTheWatch(t *testing.T) {
	ctx := t.Context()
	m := newMemory(t, 1, outbox.Config{})
	_, err := m.writer.Tx(ctx, "42", func(tx *outbox.Tx) error {
		_, err := tx.Read().TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.Set(ctx, "x", 1, 0)
			return nil
		})
		return err
	}, outbox.WithWatch("stock"))
	if err == nil || m.Exists("x") {
		t.Errorf("got %v", err)
	}
}

func TestTxRequireSameSlot(t *testing.T) {
	ctx := t.Context()
	m := newMemory(t, 4, outbox.Config{RequireSameSlot: true})
	for name, c := range map[string]struct {
		key   string
		watch []string
		ok    bool
	}{
		"tag":             {outbox.StateKey("orders", outbox.Shard("42", 4), "a"), nil, true},
		"no tag":          {"a", nil, false},
		"no tag in watch": {outbox.StateKey("orders", outbox.Shard("42", 4), "a"), []string{"a"}, false},
	} {
		_, err := m.writer.Tx(ctx, "42", func(tx *outbox.Tx) error {
			tx.Queue().Set(ctx, c.key, "1", 0)
			return tx.Append(event("42"))
		}, outbox.WithWatch(c.watch...))
		var slot *outbox.SlotError
		if (err == nil) != c.ok || err != nil && (!errors.As(err, &slot) || slot.Key != "a") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTxStoresTheTrace(t *testing.T) {
	m := newMemory(t, 1, outbox.Config{})
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ctx := outbox.WithTraceParent(t.Context(), parent, "vendor=1")
	if _, err := m.writer.Tx(ctx, "42", func(tx *outbox.Tx) error {
		return tx.Append(event("42"))
	}); err != nil {
		t.Fatal(err)
	}
	if got, want := m.entries(t, 0)[0].Values["headers"],
		`{"traceparent":"`+parent+`","tracestate":"vendor=1"}`; got != want {
		t.Errorf("headers %s, want %s", got, want)
	}
}

func TestTxRefusesBadArguments(t *testing.T) {
	m := newMemory(t, 1, outbox.Config{})
	appendTo42 := func(tx *outbox.Tx) error { return tx.Append(event("42")) }
	if _, err := m.writer.Tx(t.Context(), "", appendTo42); err == nil {
		t.Error("no key: accepted")
	}
	for name, option := range map[string]outbox.TxOption{
		"empty idempotency key": outbox.WithIdempotencyKey(""),
		"long idempotency key":  outbox.WithIdempotencyKey(strings.Repeat("x", 201)),
		"control character":     outbox.WithIdempotencyKey("a\nb"),
		"not UTF-8":             outbox.WithIdempotencyKey("\xff"),
		"negative replicas":     outbox.WithWait(outbox.Wait{Replicas: -1}),
		"negative time-out":     outbox.WithWait(outbox.Wait{Replicas: 1, Timeout: -1}),
	} {
		if _, err := m.writer.Tx(t.Context(), "42", appendTo42, option); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if len(m.Keys()) != 1 {
		t.Errorf("something was written: %q", m.Keys())
	}
}

func TestTxAfterItsEnd(t *testing.T) {
	m := newMemory(t, 1, outbox.Config{})
	var kept *outbox.Tx
	if _, err := m.writer.Tx(t.Context(), "42", func(tx *outbox.Tx) error {
		kept = tx
		return tx.Append(event("42"))
	}); err != nil {
		t.Fatal(err)
	}
	if err := kept.Append(event("42")); err == nil {
		t.Error("Append after the end was accepted")
	}
}

func TestTxStoresTimeInMilliseconds(t *testing.T) {
	m := newMemory(t, 1, outbox.Config{})
	e := event("42")
	e.Time = time.Date(2026, 1, 2, 3, 4, 5, 678_999_999, time.FixedZone("", 3600))
	if _, err := m.writer.Tx(t.Context(), "42", func(tx *outbox.Tx) error {
		return tx.Append(e)
	}); err != nil {
		t.Fatal(err)
	}
	if got := m.entries(t, 0)[0].Values["time"]; got != "1767319445678" {
		t.Errorf("time is %v", got)
	}
}
