package outbox_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// memory is an outbox "orders" on an in-memory server.
type memory struct {
	*miniredis.Miniredis
	client *redis.Client
	writer *outbox.Writer
}

func newMemory(t testing.TB, shards int, cfg outbox.Config) *memory {
	t.Helper()
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), DialerRetries: 1})
	t.Cleanup(func() { client.Close() })
	m := &memory{Miniredis: server, client: client}
	if shards > 0 {
		m.layout(shards, 1)
	}
	if cfg.Outbox == "" {
		cfg.Outbox = "orders"
	}
	var err error
	if m.writer, err = outbox.NewWriter(client, cfg); err != nil {
		t.Fatal(err)
	}
	return m
}

// set writes a text.
func (m *memory) set(t testing.TB, key, value string) {
	t.Helper()
	if err := m.Set(key, value); err != nil {
		t.Fatal(err)
	}
}

func (m *memory) layout(shards, format int) {
	m.HSet(names.LayoutKey("orders"), "version", "2", "format", strconv.Itoa(format), "shards",
		strconv.Itoa(shards), "created", "1700000000000")
}

// entries are the entries of a shard's stream as maps.
func (m *memory) entries(t testing.TB, shard int) []redis.XMessage {
	t.Helper()
	entries, err := m.client.XRange(t.Context(), outbox.StreamKey("orders", shard), "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func event(id string) outbox.Event {
	return outbox.Event{
		AggregateType: "order", AggregateID: id, Type: "OrderPlaced",
		Payload: []byte("payload of " + id),
	}
}

func TestNewWriterRefuses(t *testing.T) {
	client := redis.NewClient(&redis.Options{})
	defer client.Close()
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	defer ring.Close()
	for name, c := range map[string]struct {
		client redis.UniversalClient
		cfg    outbox.Config
		want   string
	}{
		"no client":      {nil, outbox.Config{Outbox: "o"}, "nil"},
		"ring":           {ring, outbox.Config{Outbox: "o"}, "Ring"},
		"no name":        {client, outbox.Config{}, "outbox name"},
		"bad name":       {client, outbox.Config{Outbox: "a b"}, "outbox name"},
		"negative limit": {client, outbox.Config{Outbox: "o", MaxEvents: -1}, "MaxEvents"},
		"negative len":   {client, outbox.Config{Outbox: "o", MaxLength: -1}, "MaxLength"},
		"negative ttl": {
			client,
			outbox.Config{Outbox: "o", IdempotencyTTL: -time.Second},
			"IdempotencyTTL",
		},
		"negative wait": {client, outbox.Config{Outbox: "o", Wait: outbox.Wait{Replicas: -1}}, "wait"},
	} {
		if _, err := outbox.NewWriter(c.client, c.cfg); err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one about %q", name, err, c.want)
		}
	}
}

func TestWriterRefusesMissingAndUnknownLayouts(t *testing.T) {
	ctx := t.Context()
	m := newMemory(t, 0, outbox.Config{})
	appendOne := func() error {
		_, err := m.writer.Tx(ctx, "42", func(tx *outbox.Tx) error { return tx.Append(event("42")) })
		return err
	}
	if err := appendOne(); !errors.Is(err, outbox.ErrNoLayout) ||
		!strings.Contains(err.Error(), "sluice migrate apply") {
		t.Errorf("no layout: %v", err)
	}
	var unknown *outbox.LayoutError
	m.layout(4, 2)
	if err := appendOne(); !errors.As(err, &unknown) ||
		!strings.Contains(err.Error(), "sluice migrate apply") {
		t.Errorf("format 2: %v", err)
	}
	m.HSet(names.LayoutKey("orders"), "format", "1", "shards", "many")
	if err := appendOne(); !errors.As(err, &unknown) || !strings.Contains(err.Error(), "shards") {
		t.Errorf("shards many: %v", err)
	}
	m.Del(names.LayoutKey("orders"))
	m.set(t, names.LayoutKey("orders"), "text")
	if err := appendOne(); !errors.As(err, &unknown) {
		t.Errorf("not a hash: %v", err)
	}
	m.Del(names.LayoutKey("orders"))
	m.layout(4, 1)
	if err := appendOne(); err != nil {
		t.Errorf("after the layout is right: %v", err)
	}
	if layout, err := m.writer.Layout(ctx); err != nil || layout.Shards != 4 || layout.Version != 2 ||
		layout.Created.UnixMilli() != 1700000000000 {
		t.Errorf("layout %+v, %v", layout, err)
	}
}

func TestWriterReadsTheLayoutAgain(t *testing.T) {
	for name, c := range map[string]struct {
		interval time.Duration
		want     int
	}{
		"within the interval": {0, 4},
		"every time":          {-1, 2},
	} {
		m := newMemory(t, 4, outbox.Config{LayoutInterval: c.interval})
		if l, err := m.writer.Layout(t.Context()); err != nil || l.Shards != 4 {
			t.Fatalf("%s: %+v, %v", name, l, err)
		}
		m.layout(2, 1)
		if l, err := m.writer.Layout(t.Context()); err != nil || l.Shards != c.want {
			t.Errorf("%s: %+v, %v, want %d shards", name, l, err, c.want)
		}
	}
}

func TestWriterShardAndStateKey(t *testing.T) {
	m := newMemory(t, 4, outbox.Config{})
	n, err := m.writer.Shard(t.Context(), "42")
	if err != nil || n != outbox.Shard("42", 4) {
		t.Errorf("shard %d, %v", n, err)
	}
	key, err := m.writer.StateKey(t.Context(), "42", "order:42")
	if want := "{orders:" + strconv.Itoa(n) + "}:order:42"; err != nil || key != want {
		t.Errorf("state key %q, %v, want %q", key, err, want)
	}
}

func TestStreamOfAnotherTypeIsFoundBeforeStateIsWritten(t *testing.T) {
	ctx := t.Context()
	m := newMemory(t, 1, outbox.Config{})
	m.set(t, outbox.StreamKey("orders", 0), "not a stream")
	run := func() error {
		_, err := m.writer.Tx(ctx, "42", func(tx *outbox.Tx) error {
			tx.Queue().Set(ctx, "state", "changed", 0)
			return tx.Append(event("42"))
		})
		return err
	}
	err := run()
	if !errors.Is(err, outbox.ErrWrongType) || outbox.OutcomeOf(err) != outbox.NotCommitted {
		t.Errorf("got %v, %v", err, outbox.OutcomeOf(err))
	}
	if m.Exists("state") {
		t.Error("the state was written")
	}
	m.Del(outbox.StreamKey("orders", 0))
	if err := run(); err != nil {
		t.Errorf("a missing stream is fine: %v", err)
	}
}

func TestFullOutboxIsRefused(t *testing.T) {
	ctx := t.Context()
	m := newMemory(t, 1, outbox.Config{MaxLength: 2, TypeCheckInterval: -1})
	appendOne := func() error {
		_, err := m.writer.Tx(ctx, "42", func(tx *outbox.Tx) error { return tx.Append(event("42")) })
		return err
	}
	for range 2 {
		if err := appendOne(); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := appendOne(); !errors.Is(err, outbox.ErrOutboxFull) ||
			outbox.OutcomeOf(err) != outbox.NotCommitted {
			t.Errorf("got %v", err)
		}
	}
	m.client.XTrimMaxLen(ctx, outbox.StreamKey("orders", 0), 0)
	if err := appendOne(); err != nil {
		t.Errorf("after a trim: %v", err)
	}
}

func TestUnreachableServer(t *testing.T) {
	m := newMemory(t, 1, outbox.Config{})
	if _, err := m.writer.Layout(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := m.writer.Tx(ctx, "42", func(tx *outbox.Tx) error { return tx.Append(event("42")) })
	if !errors.Is(err, outbox.ErrUnreachable) || outbox.OutcomeOf(err) != outbox.NotCommitted {
		t.Errorf("got %v", err)
	}
}
