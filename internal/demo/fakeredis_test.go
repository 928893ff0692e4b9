package demo

import (
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// XINFO STREAM counts as Redis does: what was added stays added, whatever is trimmed, deleted or
// waits in a transaction.
func TestStreamsAreCounted(t *testing.T) {
	m := miniredis.RunT(t)
	c := countEntries(m)
	client := redis.NewClient(&redis.Options{Addr: m.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	ctx := t.Context()
	add := func(id string) {
		t.Helper()
		if err := client.XAdd(ctx, &redis.XAddArgs{
			Stream: "s", ID: id,
			Values: []string{"a", "b"},
		}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	want := func(length, added int64, first, last, deleted string) {
		t.Helper()
		i, err := client.XInfoStream(ctx, "s").Result()
		if err != nil {
			t.Fatal(err)
		}
		if i.Length != length || i.EntriesAdded != added || i.FirstEntry.ID != first ||
			i.LastGeneratedID != last || i.MaxDeletedEntryID != deleted {
			t.Errorf("%+v, want %d of %d from %q to %q, deleted %s", i, length, added, first, last, deleted)
		}
	}
	if err := client.XInfoStream(ctx, "s").Err(); err == nil {
		t.Error("a stream that does not exist is described")
	}
	add("1-0")
	add("2-0")
	want(2, 2, "1-0", "2-0", "0-0")
	if _, err := client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.XAdd(ctx, &redis.XAddArgs{Stream: "s", ID: "3-0", Values: []string{"a", "b"}})
		p.XAdd(ctx, &redis.XAddArgs{Stream: "s", ID: "4-0", Values: []string{"a", "b"}})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n, err := client.XTrimMinID(ctx, "s", "3-0").Result(); n != 2 || err != nil {
		t.Errorf("trimmed %d, %v", n, err)
	}
	want(2, 4, "3-0", "4-0", "0-0")
	if n, err := client.XDel(ctx, "s", "3-0").Result(); n != 1 || err != nil {
		t.Errorf("deleted %d, %v", n, err)
	}
	want(1, 4, "4-0", "4-0", "3-0")
	add("5-0")
	if err := c.forget(ctx, client, "s", "4-0"); err != nil {
		t.Fatal(err)
	}
	want(1, 4, "5-0", "5-0", "3-0")
	if n, err := client.XTrimMinID(ctx, "s", "6-0").Result(); n != 1 || err != nil {
		t.Errorf("trimmed %d, %v", n, err)
	}
	want(0, 4, "", "5-0", "3-0")
	if i, err := client.XInfoStream(ctx, "s").Result(); err != nil || i.Length != 0 {
		t.Errorf("%+v, %v", i, err)
	}
}
