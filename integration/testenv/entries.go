package testenv

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/outbox"
)

// Entry is an entry as it is in a stream.
type Entry struct {
	Shard   int
	ID      outbox.EntryID
	Event   string // the field id
	Key     string
	Payload uint64 // hash
	More    bool   // entries of the same MULTI/EXEC follow
}

// Add appends n entries to a shard's stream as any language would, without the outbox package.
// Their ids count up over all shards, so that no two are equal; there are fifty keys, which need
// not be those that belong to the shard.
func (w *Env) Add(shard, n int, payload string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for n > 0 {
		pipe := w.Redis.Pipeline()
		for range min(n, 1000) {
			w.added++
			pipe.Do(ctx, append([]any{"XADD", w.Stream(shard), "*"}, w.fields(w.added, payload)...)...)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			w.t.Fatalf("XADD: %v", err)
		}
		n -= min(n, 1000)
	}
}

// AddFields appends one entry of any fields, under an ID or "*", and returns its ID.
func (w *Env) AddFields(shard int, id string, fields ...any) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	got, err := w.Redis.Do(ctx, append([]any{"XADD", w.Stream(shard), id}, fields...)...).Text()
	if err != nil {
		w.t.Fatalf("XADD: %v", err)
	}
	return got
}

// Fields are the fields of a valid entry with a new id, to be given to AddFields, as they are or
// damaged.
func (w *Env) Fields(payload string) []any {
	w.added++
	return w.fields(w.added, payload)
}

func (w *Env) fields(n int, payload string) []any {
	return []any{
		outbox.FieldID, fmt.Sprintf("e-%d", n), outbox.FieldAggregateType, "order",
		outbox.FieldAggregateID, fmt.Sprintf("k%d", n%50),
		outbox.FieldType, "OrderPlaced", outbox.FieldPayload, payload, outbox.FieldHeaders, "{}",
	}
}

// Entries reads all streams. Entries that are no events have an empty Event.
func (w *Env) Entries() []Entry {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var all []Entry
	for shard := range w.Shards {
		for start := "-"; ; {
			got, err := w.Redis.XRangeN(ctx, w.Stream(shard), start, "+", 5000).Result()
			if err != nil {
				w.t.Fatalf("XRANGE: %v", err)
			}
			for _, m := range got {
				all = append(all, entryOf(shard, m))
			}
			if len(got) == 0 {
				break
			}
			start = "(" + got[len(got)-1].ID
		}
	}
	return all
}

func entryOf(shard int, m redis.XMessage) Entry {
	text := func(field string) string { s, _ := m.Values[field].(string); return s }
	e := Entry{
		Shard: shard, Event: text(outbox.FieldID), Key: text(outbox.FieldKey),
		Payload: hash([]byte(text(outbox.FieldPayload))),
	}
	if e.Key == "" {
		e.Key = text(outbox.FieldAggregateID)
	}
	e.More = text(outbox.FieldMore) != ""
	id, err := outbox.ParseEntryID(m.ID)
	if err != nil {
		panic(err) // Redis's own
	}
	e.ID = id
	return e
}

func hash(b []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(b) // never fails
	return h.Sum64()
}
