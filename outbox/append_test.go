package outbox_test

import (
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/outbox"
)

func TestAppendJoinsATransaction(t *testing.T) {
	ctx := t.Context()
	m := newMemory(t, 4, outbox.Config{})
	pipe := m.client.TxPipeline()
	pipe.Set(ctx, "state", "1", 0)
	appended, err := m.writer.Append(ctx, pipe, event("42"), event("42"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := appended.Result(); !errors.Is(err, outbox.ErrNotExecuted) ||
		outbox.OutcomeOf(err) != outbox.NotCommitted {
		t.Errorf("before EXEC: %v", err)
	}
	if m.Exists("state") {
		t.Error("sent before EXEC")
	}
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	res, err := appended.Result()
	if err != nil || appended.Err() != nil {
		t.Fatal(err)
	}
	entries := m.entries(t, outbox.Shard("42", 4))
	if len(entries) != 2 || len(res.Entries) != 2 || res.Shard != outbox.Shard("42", 4) {
		t.Fatalf("%d entries, %+v", len(entries), res)
	}
	for i, entry := range entries {
		if entry.ID != res.Entries[i] || entry.Values["id"] != res.Events[i] {
			t.Errorf("entry %d is %v, result says %s of %s", i, entry, res.Entries[i], res.Events[i])
		}
	}
	if entries[0].Values["more"] != "1" || entries[1].Values["more"] != nil {
		t.Errorf("more: %v, %v", entries[0].Values["more"], entries[1].Values["more"])
	}
}

func TestAppendSeesALostLock(t *testing.T) {
	ctx := t.Context()
	m := newMemory(t, 1, outbox.Config{})
	var appended *outbox.Appended
	err := m.client.Watch(ctx, func(conn *redis.Tx) error {
		m.client.Incr(ctx, "stock")
		_, err := conn.TxPipelined(ctx, func(pipe redis.Pipeliner) (err error) {
			appended, err = m.writer.Append(ctx, pipe, event("42"))
			return err
		})
		return err
	}, "stock")
	if !errors.Is(err, redis.TxFailedErr) {
		t.Fatal(err)
	}
	if err := appended.Err(); !errors.Is(err, redis.TxFailedErr) ||
		outbox.OutcomeOf(err) != outbox.NotCommitted {
		t.Errorf("got %v", err)
	}
}

func TestAppendRefusesAndQueuesNothing(t *testing.T) {
	ctx := t.Context()
	m := newMemory(t, 4, outbox.Config{RequireSameSlot: true})
	bad := event("42")
	bad.Type = ""
	var asEvent *outbox.EventError
	var asShard *outbox.ShardError
	var asSlot *outbox.SlotError
	for name, c := range map[string]struct {
		state  string
		events []outbox.Event
		want   func(error) bool
	}{
		"no events": {"", nil, func(err error) bool { return err != nil }},
		"bad event": {"", []outbox.Event{event("42"), bad}, func(err error) bool {
			return errors.As(err, &asEvent) && asEvent.Field == "Type" && asEvent.Index == 1
		}},
		"two shards": {
			"",
			[]outbox.Event{event("42"), event(otherShard(t, "42", 4))},
			func(err error) bool {
				return errors.As(err, &asShard)
			},
		},
		"state far away": {"state", []outbox.Event{event("42")}, func(err error) bool {
			return errors.As(err, &asSlot) && asSlot.Key == "state"
		}},
	} {
		pipe := m.client.TxPipeline()
		queued := 0
		if c.state != "" {
			pipe.Set(ctx, c.state, "1", 0)
			queued = 1
		}
		if _, err := m.writer.Append(ctx, pipe, c.events...); !c.want(err) {
			t.Errorf("%s: %v", name, err)
		}
		if pipe.Len() != queued {
			t.Errorf("%s: %d commands queued, want %d", name, pipe.Len(), queued)
		}
	}
}

// TestAppendTellsTransactionsFromPipelines covers every way go-redis makes either.
func TestAppendTellsTransactionsFromPipelines(t *testing.T) {
	ctx := t.Context()
	m := newMemory(t, 1, outbox.Config{})
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{m.Addr()}})
	defer cluster.Close()
	conn := m.client.Conn()
	defer conn.Close()

	try := func(name string, pipe redis.Pipeliner, ok bool) {
		t.Helper()
		_, err := m.writer.Append(ctx, pipe, event("42"))
		if ok != (err == nil) || !ok && !errors.Is(err, outbox.ErrNotTransaction) {
			t.Errorf("%s: %v", name, err)
		}
		pipe.Discard()
	}
	inside := func(name string, ok bool) func(redis.Pipeliner) error {
		return func(pipe redis.Pipeliner) error {
			try(name, pipe, ok)
			return errors.New("enough")
		}
	}
	for name, c := range map[string]redis.Cmdable{
		"Client": m.client, "ClusterClient": cluster,
		"Conn": conn,
	} {
		try(name+".TxPipeline", c.TxPipeline(), true)
		try(name+".Pipeline", c.Pipeline(), false)
		_, _ = c.TxPipelined(ctx, inside(name+".TxPipelined", true))
		_, _ = c.Pipelined(ctx, inside(name+".Pipelined", false))
	}
	_ = m.client.Watch(ctx, func(tx *redis.Tx) error {
		try("Tx.TxPipeline", tx.TxPipeline(), true)
		try("Tx.Pipeline", tx.Pipeline(), false)
		_, _ = tx.TxPipelined(ctx, inside("Tx.TxPipelined", true))
		_, _ = tx.Pipelined(ctx, inside("Tx.Pipelined", false))
		return nil
	}, "k")
}
