package outbox_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/outbox"
)

func TestIdempotencyKeyAppendsOnce(t *testing.T) {
	ctx := t.Context()
	m := newMemory(t, 1, outbox.Config{IdempotencyTTL: time.Hour})
	runs := 0
	place := func(key string) (outbox.Result, error) {
		return m.writer.Tx(ctx, "42", func(tx *outbox.Tx) error {
			runs++
			tx.Queue().Incr(ctx, "orders placed")
			return tx.Append(event("42"), event("42"))
		}, outbox.WithIdempotencyKey(key))
	}
	first, err := place("request 1")
	if err != nil || first.AlreadyAppended || len(first.Entries) != 2 {
		t.Fatalf("first: %+v, %v", first, err)
	}
	second, err := place("request 1")
	if err != nil || !second.AlreadyAppended || second.Entries != nil ||
		!slices.Equal(second.Events, first.Events) {
		t.Errorf("second: %+v, %v", second, err)
	}
	if runs != 1 || len(m.entries(t, 0)) != 2 {
		t.Errorf("the function ran %d times, %d entries", runs, len(m.entries(t, 0)))
	}
	marker := outbox.MarkerKey("orders", 0, "request 1")
	if ttl := m.TTL(marker); ttl != time.Hour {
		t.Errorf("marker lives %v", ttl)
	}

	if third, err := place("request 2"); err != nil || third.AlreadyAppended {
		t.Errorf("another key: %+v, %v", third, err)
	}
	m.FastForward(2 * time.Hour)
	if again, err := place("request 1"); err != nil || again.AlreadyAppended {
		t.Errorf("after the marker's life: %+v, %v", again, err)
	}
}

func TestIdempotencyKeyWithWatch(t *testing.T) {
	ctx := t.Context()
	m := newMemory(t, 1, outbox.Config{})
	m.set(t, "stock", "5")
	for range 3 {
		_, err := m.writer.Tx(ctx, "42", func(tx *outbox.Tx) error {
			stock, err := tx.Read().Get(ctx, "stock").Int()
			if err != nil {
				return err
			}
			tx.Queue().Set(ctx, "stock", stock-1, 0)
			return tx.Append(event("42"))
		}, outbox.WithWatch("stock"), outbox.WithIdempotencyKey("r"))
		if err != nil {
			t.Fatal(err)
		}
	}
	if v, _ := m.Get("stock"); v != "4" || len(m.entries(t, 0)) != 1 {
		t.Errorf("stock %s, %d entries", v, len(m.entries(t, 0)))
	}
}

// TestIdempotencyKeyRace: two with the same key at once, the second commits between the first's
// look and its EXEC.
func TestIdempotencyKeyRace(t *testing.T) {
	ctx := t.Context()
	m := newMemory(t, 1, outbox.Config{})
	same := outbox.WithIdempotencyKey("r")
	res, err := m.writer.Tx(ctx, "42", func(tx *outbox.Tx) error {
		if _, err := m.writer.Tx(ctx, "42", func(other *outbox.Tx) error {
			return other.Append(event("42"))
		}, same); err != nil {
			return err
		}
		return tx.Append(event("42"))
	}, same)
	if err != nil || !res.AlreadyAppended || res.Attempts != 2 || len(m.entries(t, 0)) != 1 {
		t.Errorf("%+v, %v, %d entries", res, err, len(m.entries(t, 0)))
	}
}

func TestIdempotencyMarkerStaysSmall(t *testing.T) {
	ctx := t.Context()
	m := newMemory(t, 1, outbox.Config{})
	many := slices.Repeat([]outbox.Event{event("42")}, 500)
	for i := range 2 {
		res, err := m.writer.Tx(ctx, "42", func(tx *outbox.Tx) error {
			return tx.Append(many...)
		}, outbox.WithIdempotencyKey("r"))
		if err != nil || res.AlreadyAppended != (i == 1) {
			t.Fatalf("%t, %v", res.AlreadyAppended, err)
		}
	}
	if v, err := m.Get(outbox.MarkerKey("orders", 0, "r")); err != nil || v != "" {
		t.Errorf("marker has %d bytes, %v", len(v), err)
	}
}

func TestIdempotentInTheCallersTransaction(t *testing.T) {
	ctx := t.Context()
	m := newMemory(t, 1, outbox.Config{})
	m.set(t, "stock", "5")
	place := func() (done bool, events []string, err error) {
		err = m.client.Watch(ctx, func(conn *redis.Tx) error {
			idem, err := m.writer.Idempotent(ctx, conn, "42", "request 1")
			if err != nil {
				return err
			}
			if done, events = idem.Done(), idem.Events(); done {
				_, err := idem.Append(ctx, conn.TxPipeline(), event("42"))
				if !errors.Is(err, outbox.ErrAlreadyAppended) {
					t.Errorf("Append after Done: %v", err)
				}
				return nil
			}
			var appended *outbox.Appended
			if _, err = conn.TxPipelined(ctx, func(pipe redis.Pipeliner) (err error) {
				pipe.Decr(ctx, "stock")
				appended, err = idem.Append(ctx, pipe, event("42"))
				return err
			}); err != nil {
				return err
			}
			res, err := appended.Result()
			events = res.Events
			return err
		}, "stock")
		return done, events, err
	}
	done, first, err := place()
	if err != nil || done {
		t.Fatal(done, err)
	}
	done, second, err := place()
	if err != nil || !done || !slices.Equal(first, second) {
		t.Errorf("second: %t, %v, %v", done, second, err)
	}
	if v, _ := m.Get("stock"); v != "4" || len(m.entries(t, 0)) != 1 {
		t.Errorf("stock %s, %d entries", v, len(m.entries(t, 0)))
	}
}

func TestIdempotentRefusesBadKeys(t *testing.T) {
	m := newMemory(t, 1, outbox.Config{})
	_ = m.client.Watch(t.Context(), func(conn *redis.Tx) error {
		for _, key := range []string{"", "a\x00b", "\xff", strings.Repeat("x", 201)} {
			if _, err := m.writer.Idempotent(t.Context(), conn, "42", key); err == nil {
				t.Errorf("%q was accepted", key)
			}
		}
		return nil
	}, "k")
}
