package delivery

import (
	"slices"
	"testing"
	"time"
)

// A shard with a backlog leaves its neighbours for a lane for backlogs, and comes back when it has
// none.
func TestBacklogMoves(t *testing.T) {
	t.Parallel()
	inLab(t, 4, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		var flows []*flow
		for shard := range 4 {
			f := newFlow(shard)
			f.size = 500
			flows = append(flows, f)
		}
		// the stand-in takes no time
		e, end := l.engine(func(c *Config) { c.Linger = 50 * time.Millisecond })
		defer end()
		l.run(e, flows...)
		behind, others := flows[0], flows[1:]
		for _, f := range others {
			f.add(1, place{"events", 0})
		}
		l.delivered(others...)
		behind.add(60_000, place{"events", 0})
		kinds := func() (kinds []string) {
			e.mu.Lock()
			o := e.owned[0]
			e.mu.Unlock()
			o.shard.mu.Lock()
			defer o.shard.mu.Unlock()
			if seat := o.shard.seat; seat != nil {
				return []string{seat.lane.kind.String()}
			}
			return nil
		}
		var seen []string
		for range 100 {
			began := time.Now()
			for _, f := range others {
				f.add(1, place{"events", 0})
			}
			l.delivered(others...)
			if took := time.Since(began); took > 300*time.Millisecond {
				t.Errorf("the others wait for %s", took)
			}
			seen = slices.Compact(append(seen, kinds()...))
			time.Sleep(50 * time.Millisecond)
		}
		l.delivered(behind)
		for range 100 {
			seen = slices.Compact(append(seen, kinds()...))
			time.Sleep(50 * time.Millisecond)
		}
		if !slices.Equal(seen, []string{"main", "backlog", "main"}) {
			t.Errorf("it was in lanes of the kinds %v", seen)
		}
		for _, f := range others {
			if lanes := f.inLanes(); len(lanes) != 1 {
				t.Errorf("shard %d was seated in %v", f.shard, lanes)
			}
		}
		end()
		l.check(flows...)
	})
}

// Among shards that all have a backlog nobody leaves.
func TestBacklogAmongItsLike(t *testing.T) {
	t.Parallel()
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		a, b := newFlow(0), newFlow(1)
		e, end := l.engine(func(c *Config) { c.Linger, c.MaxEntries = 200*time.Millisecond, 2000 })
		defer end()
		for _, f := range []*flow{a, b} {
			f.size = 500
			f.add(20_000, place{"events", 0})
		}
		l.run(e, a, b)
		time.Sleep(3 * time.Second) // of four
		if a.seen().committed == 20_000 || b.seen().committed == 20_000 {
			t.Error("the backlog was too small to show anything")
		}
		if len(a.inLanes()) != 1 || len(b.inLanes()) != 1 {
			t.Errorf("seated in %v and %v", a.inLanes(), b.inLanes())
		}
		l.delivered(a, b)
		end()
		l.check(a, b)
	})
}

// How long a shard has to be well before it goes back doubles with each relapse, up to a bound, and
// is as short as at first after a long time without trouble.
func TestCalmDoubles(t *testing.T) {
	t.Parallel()
	h := newShard(&Engine{}, 0, noSource{})
	h.inTrouble()
	if h.kind != alone || h.calm != calmAfter {
		t.Errorf("in a lane of kind %v, calm after %s", h.kind, h.calm)
	}
	for want := 2 * calmAfter; want < mostCalm; want *= 2 {
		h.kind = main // it went back
		h.inTrouble()
		if h.calm != want {
			t.Errorf("calm after %s, want %s", h.calm, want)
		}
	}
	for range 10 {
		h.inTrouble()
	}
	if h.calm != mostCalm {
		t.Errorf("calm after %s, want %s", h.calm, mostCalm)
	}
	h.kind, h.trouble = main, time.Now().Add(-3*mostCalm)
	h.inTrouble()
	if h.calm != calmAfter {
		t.Errorf("calm after %s long after the last trouble", h.calm)
	}
}
