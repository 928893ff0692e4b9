package operate

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

func TestLook(t *testing.T) {
	s := newStage(t)
	s.append(t, 1, 2, 3)
	st := s.look(t)
	if st.Version != 2 || len(st.Shards) != 2 || len(st.Problems) != 0 || st.Relays == nil || *st.Relays != 0 {
		t.Fatalf("got %+v", st)
	}
	if sh := st.Shards[1]; sh.Retained == nil || *sh.Retained != 3 || sh.OldestUndelivered == nil || *sh.OldestUndelivered == 0 {
		t.Errorf("got %+v", sh)
	}
	s.mini.HSet(names.StatusKey("orders"), "0", `{"shard":0,"state":"halted","instance":"r1","since":1,"reason":"why","expected":"a","found":"b"}`)
	s.mini.Del(outbox.StreamKey("orders", 1))
	_ = s.mini.Set(outbox.StreamKey("orders", 1), "not a stream")
	st = s.look(t)
	if sh := st.Shards[0]; sh.State != "halted" || sh.Reason != "why" || sh.Owner != "r1" || !strings.Contains(sh.Next, "--shard 0") {
		t.Errorf("got %+v", sh)
	}
	if sh := st.Shards[1]; sh.State != StateAbsent || !strings.Contains(sh.Reason, "another type") {
		t.Errorf("got %+v", sh)
	}
}

func TestLookWithoutKafka(t *testing.T) {
	s := newStage(t)
	s.append(t, 1)
	s.kafka.Close()
	st := s.look(t)
	if len(st.Problems) != 2 || st.Relays != nil || st.Shards[1].Lag != nil || *st.Shards[1].Retained != 1 {
		t.Errorf("got %+v", st)
	}
}

func TestLookWithoutLayout(t *testing.T) {
	s := newStage(t)
	if _, err := Look(t.Context(), s.Servers, "nothing"); !errors.Is(err, outbox.ErrNoLayout) {
		t.Errorf("got %v", err)
	}
}

func TestPauses(t *testing.T) {
	s := newStage(t)
	at := time.UnixMilli(1000).UTC()
	for _, shard := range []int{All, 1} {
		if err := SetPause(t.Context(), s.Redis, "orders", shard, Pause{At: at, By: "op", Reason: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	s.mini.HSet(names.ControlKey("orders"), "pause:0", "typed by hand")
	p, err := ReadPauses(t.Context(), s.Redis, "orders")
	if err != nil || p.All == nil || *p.All != (Pause{At: at, By: "op", Reason: "test"}) || p.Shards[1] != *p.All || p.Shards[0].Reason != "typed by hand" {
		t.Errorf("got %+v, %v", p, err)
	}
	for _, want := range []bool{true, false} {
		if removed, err := RemovePause(t.Context(), s.Redis, "orders", All); err != nil || removed != want {
			t.Errorf("got %v, %v", removed, err)
		}
	}
	if st := s.look(t); st.Shards[1].State != "paused" || st.Shards[1].Reason != "paused by op: test" {
		t.Errorf("got %+v", st.Shards[1])
	}
}
