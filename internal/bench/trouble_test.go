package bench

import (
	"slices"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/relay"
)

func TestLastShardsComeIntoTrouble(t *testing.T) {
	tr := &trouble{stage: &stage{shards: 6}, poison: 3, headless: 4, backlog: 5}
	if got := tr.well(); !slices.Equal(got, []int{0, 1, 2}) {
		t.Errorf("without trouble: %v, want 0, 1 and 2", got)
	}
	if got := tr.shards(); !slices.Equal(got, []int{3, 4, 5}) || len(got) != troubles {
		t.Errorf("in trouble: %v, want 3, 4 and 5", got)
	}
}

// A backlog lasts from the last look that finds nothing of it delivered to the first that finds all
// of it.
func TestHowLongTheBacklogLasts(t *testing.T) {
	tr := &trouble{run: &run{Options: Options{Entries: 1_000}}}
	start := time.Unix(1_000, 0)
	look := func(after int, count uint64) bool {
		return tr.note(relay.ShardStatus{Position: relay.Position{Count: count}},
			start.Add(time.Duration(after)*time.Second))
	}
	if look(1, 0) || tr.backlogLasted() != nil {
		t.Errorf("nothing is delivered, and it lasted %v", tr.backlogLasted())
	}
	if look(2, 10) || look(3, 500) {
		t.Error("done before it is")
	}
	s := tr.backlogLasted()
	if s == nil || s.has(start) || !s.has(start.Add(time.Second)) || !s.has(start.Add(time.Hour)) {
		t.Errorf("it lasts %v", s)
	}
	if !look(4, 1_000) {
		t.Error("all is delivered, and it is not done")
	}
	if s := tr.backlogLasted(); *s != (span{start.Add(time.Second), start.Add(4 * time.Second)}) ||
		s.has(start.Add(4*time.Second)) {
		t.Errorf("it lasted %v", s)
	}
}

func TestStatusOfAShard(t *testing.T) {
	a := answer{Shards: []relay.ShardStatus{
		{Shard: 1, State: relay.StateRunning},
		{Shard: 2, State: relay.StateWaiting},
	}}
	if st := status(a, 2); st.State != relay.StateWaiting {
		t.Errorf("%+v", st)
	}
	if st := status(a, 3); st.Shard != 3 || st.State != relay.StateStarting {
		t.Errorf("a shard that the relay does not own yet: %+v", st)
	}
}
