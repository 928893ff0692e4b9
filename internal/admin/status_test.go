package admin

import (
	"errors"
	"strings"
	"testing"

	"github.com/sluice-outbox/sluice/internal/control"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

func TestLook(t *testing.T) {
	s := newStage(t)
	s.append(t, 1, 2, 3)
	st := s.look(t)
	if st.Version != 2 || len(st.Shards) != 2 || len(st.Problems) != 0 || st.Relays == nil ||
		*st.Relays != 0 {
		t.Fatalf("got %+v", st)
	}
	if sh := st.Shards[1]; sh.Retained == nil || *sh.Retained != 3 || sh.OldestUndelivered == nil ||
		*sh.OldestUndelivered == 0 {
		t.Errorf("got %+v", sh)
	}
	s.mini.HSet(names.StatusKey("orders"), "0",
		`{"shard":0,"state":"halted","instance":"r1","since":1,`+
			`"reason":"why","expected":"a","found":"b"}`)
	s.mini.Del(outbox.StreamKey("orders", 1))
	_ = s.mini.Set(outbox.StreamKey("orders", 1), "not a stream")
	st = s.look(t)
	if sh := st.Shards[0]; sh.State != "halted" || sh.Reason != "why" || sh.Owner != "r1" ||
		!strings.Contains(sh.Next, "--shard 0") {
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
	if len(st.Problems) != 2 || st.Relays != nil || st.Shards[1].Lag != nil ||
		*st.Shards[1].Retained != 1 {
		t.Errorf("got %+v", st)
	}
}

func TestLookWithoutLayout(t *testing.T) {
	s := newStage(t)
	if _, err := ReadStatus(t.Context(), s.Servers, "nothing"); !errors.Is(err, outbox.ErrNoLayout) {
		t.Errorf("got %v", err)
	}
}

func TestStatusOfAPausedShard(t *testing.T) {
	s := newStage(t)
	if err := control.SetPause(t.Context(), s.Redis, "orders", control.All,
		control.Pause{By: "op", Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	if st := s.look(t); st.Shards[1].State != "paused" || st.Shards[1].Reason != "paused by op: test" {
		t.Errorf("got %+v", st.Shards[1])
	}
}
