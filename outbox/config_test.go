package outbox_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// TestEveryFieldHasAnEffect sets each field of Config by itself and observes a difference to the
// default.
func TestEveryFieldHasAnEffect(t *testing.T) {
	ctx := t.Context()
	// outcome runs a transaction and describes what became of it.
	outcome := func(m *memory, events ...outbox.Event) string {
		_, err := m.writer.Tx(ctx, "42", func(tx *outbox.Tx) error {
			tx.Queue().Set(ctx, "state", "1", 0)
			return tx.Append(events...)
		})
		return fmt.Sprint(err)
	}
	with := func(change func(*outbox.Event)) outbox.Event {
		e := event("42")
		change(&e)
		return e
	}
	headers := with(func(e *outbox.Event) {
		e.Headers = map[string]string{"a": "12345", "b": "12345"}
	})

	fields := map[string]struct {
		value   any
		observe func(t *testing.T, m *memory) string
	}{
		"Outbox": {"invoices", func(_ *testing.T, m *memory) string {
			return outcome(m, event("42"))
		}},
		"MaxPayload":     {3, func(_ *testing.T, m *memory) string { return outcome(m, event("42")) }},
		"MaxHeaders":     {1, func(_ *testing.T, m *memory) string { return outcome(m, headers) }},
		"MaxHeaderBytes": {11, func(_ *testing.T, m *memory) string { return outcome(m, headers) }},
		"MaxEvents": {1, func(_ *testing.T, m *memory) string {
			return outcome(m, event("42"), event("42"))
		}},
		"MaxBytes": {40, func(_ *testing.T, m *memory) string {
			return outcome(m, event("42"), event("42"))
		}},
		"MaxLength": {int64(1), func(t *testing.T, m *memory) string {
			if _, err := m.XAdd(outbox.StreamKey("orders", 0), "1-1", []string{"a", "b"}); err != nil {
				t.Fatal(err)
			}
			return outcome(m, event("42"))
		}},
		"RequireSameSlot": {true, func(_ *testing.T, m *memory) string {
			return outcome(m, event("42"))
		}},
		"TypeCheckInterval": {time.Duration(-1), func(_ *testing.T, m *memory) string {
			before := m.CommandCount()
			for range 10 {
				outcome(m, event("42"))
			}
			return fmt.Sprint(m.CommandCount() - before)
		}},
		"LayoutInterval": {time.Duration(-1), func(_ *testing.T, m *memory) string {
			outcome(m, event("42"))
			m.Del(names.LayoutKey("orders"))
			return outcome(m, event("42"))
		}},
		"IdempotencyTTL": {time.Minute, func(_ *testing.T, m *memory) string {
			_, err := m.writer.Tx(ctx, "42", func(tx *outbox.Tx) error {
				return tx.Append(event("42"))
			}, outbox.WithIdempotencyKey("r"))
			return fmt.Sprint(err, m.TTL(outbox.MarkerKey("orders", 0, "r")))
		}},
		"Attempts": {2, func(_ *testing.T, m *memory) string {
			runs := 0
			_, err := m.writer.Tx(ctx, "42", func(tx *outbox.Tx) error {
				runs++
				m.client.Incr(ctx, "stock")
				return tx.Append(event("42"))
			}, outbox.WithWatch("stock"))
			return fmt.Sprint(runs, err)
		}},
		"Wait": {outbox.Wait{Replicas: 1}, func(_ *testing.T, m *memory) string {
			return outcome(m, event("42"))
		}},
		"TraceContext": {func(context.Context) (string, string) {
			return "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", ""
		}, func(t *testing.T, m *memory) string {
			return outcome(m, event("42")) + fmt.Sprint(m.entries(t, 0)[0].Values["headers"])
		}},
	}

	config := reflect.TypeFor[outbox.Config]()
	for i := range config.NumField() {
		name := config.Field(i).Name
		f, ok := fields[name]
		if !ok {
			t.Errorf("no effect of %s is known to this test", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var changed outbox.Config
			reflect.ValueOf(&changed).Elem().FieldByName(name).Set(reflect.ValueOf(f.value))
			byDefault, set := f.observe(t, newMemory(t, 1, outbox.Config{})),
				f.observe(t, newMemory(t, 1, changed))
			if byDefault == set {
				t.Errorf("set to %v it makes no difference: %s", f.value, set)
			}
		})
	}
}

func TestTypeCheckCostsNothingWhileAppendsSucceed(t *testing.T) {
	m := newMemory(t, 1, outbox.Config{})
	for i := range 20 {
		before := m.CommandCount()
		if _, err := m.writer.Tx(t.Context(), "42", func(tx *outbox.Tx) error {
			return tx.Append(event("42"))
		}); err != nil {
			t.Fatal(err)
		}
		if n := m.CommandCount() - before; i > 0 && n != 3 {
			t.Fatalf("transaction %d took %d commands, want MULTI, XADD and EXEC", i, n)
		}
	}
}

func TestLimitsAreNamed(t *testing.T) {
	m := newMemory(t, 1, outbox.Config{MaxPayload: 3})
	_, err := m.writer.Tx(t.Context(), "42", func(tx *outbox.Tx) error {
		return tx.Append(event("42"))
	})
	if err == nil || !strings.Contains(err.Error(), "Payload") ||
		!strings.Contains(err.Error(), "at most 3") {
		t.Errorf("got %v", err)
	}
}
