package control

import (
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/names"
)

func TestReports(t *testing.T) {
	t.Parallel()
	mini := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: mini.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	key := names.StatusKey("orders")
	mini.HSet(key, "7", "typed by hand", "x", "{}")
	running := Report{
		Shard: 3, State: "running", Instance: "r1", Delivery: "exactly-once", SinceMS: 1,
		AtMS: 2,
	}
	halted := Report{
		Shard: 0, State: "halted", Instance: "r1", Reason: "rolled back", Entry: "5-0",
		Expected: "a", Found: "b",
	}
	for _, reports := range [][]Report{{running, halted}, {}, {halted}} {
		if err := WriteReports(t.Context(), client, "orders", reports); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ReadReports(t.Context(), client, "orders")
	if err != nil || len(got) != 2 || got[3] != running || got[0] != halted {
		t.Errorf("got %+v, %v", got, err)
	}
	const want = `{"shard":3,"state":"running","instance":"r1","delivery":"exactly-once",` +
		`"since":1,"at":2}`
	if text := mini.HGet(key, "3"); text != want {
		t.Errorf("in Redis is %s, want %s", text, want)
	}
}
