package control

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/names"
)

func TestParsePauses(t *testing.T) {
	t.Parallel()
	p := parsePauses(map[string]string{
		"pause:3":  `{"at":1700000000000,"by":"ops","reason":"maintenance"}`,
		"pause:12": "by hand",
		"pause:x":  `{}`,
		"pause:":   `{}`,
		"pauses":   `{}`,
		"other":    `{}`,
	})
	if p.All != nil || len(p.Shards) != 2 || p.Shards[3].String() != "paused by ops: maintenance" ||
		p.Shards[12].String() != "paused: by hand" {
		t.Errorf("got %v", p)
	}
	for value, want := range map[string]string{
		`{"by":"ops"}`:   "paused by ops",
		`{"reason":"r"}`: "paused: r", `{}`: "paused", "": "paused", "yes": "paused: yes",
		`"text"`: `paused: "text"`,
	} {
		p := parsePauses(map[string]string{"pause": value})
		if p.All == nil || p.All.String() != want || len(p.Shards) != 0 {
			t.Errorf("%q: got %v, want %s", value, p, want)
		}
	}
	if p := parsePauses(nil); p.All != nil || len(p.Shards) != 0 {
		t.Errorf("of no hash: %v", p)
	}
}

func TestPauses(t *testing.T) {
	t.Parallel()
	mini := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: mini.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	at := time.UnixMilli(1000).UTC()
	for _, shard := range []int{All, 1} {
		if err := SetPause(t.Context(), client, "orders", shard,
			Pause{At: at, By: "op", Reason: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	mini.HSet(names.ControlKey("orders"), "pause:0", "typed by hand")
	p, err := ReadPauses(t.Context(), client, "orders")
	if err != nil || p.All == nil || *p.All != (Pause{At: at, By: "op", Reason: "test"}) ||
		p.Shards[1] != *p.All || p.Shards[0].Reason != "typed by hand" {
		t.Errorf("got %+v, %v", p, err)
	}
	for _, want := range []bool{true, false} {
		if removed, err := RemovePause(t.Context(), client, "orders", All); err != nil ||
			removed != want {
			t.Errorf("got %v, %v", removed, err)
		}
	}
}
