package main

import (
	"testing"
	"time"
)

// pair is two relays, of which the first, with an entry under way, is dead.
func pair(t *testing.T, dies time.Duration) (m *model, s *shard, dead *lane) {
	t.Helper()
	m = small(t, "-relays=2")
	s, dead = m.shards[0], m.relays[0].lanes[0]
	give(m, 1)
	m.run(dies)
	m.relays[0].dead = true
	dead.die()
	return m, s, dead
}

func TestTakeOver(t *testing.T) {
	// Death in each tenth of a millisecond of a transaction, and a take-over at once: what was committed is not delivered again,
	// what was not is.
	for dies := time.Duration(0); dies < 12*time.Millisecond; dies += 100 * time.Microsecond {
		m, s, dead := pair(t, dies)
		m.relays[1].take(s)
		m.run(5 * time.Second)
		if s.lane == nil || s.lane.relay != m.relays[1] || s.claim != s.lane {
			t.Fatalf("death after %v: the shard has no seat", dies)
		}
		if s.done != 1 || m.entries[0].seen != 1 {
			t.Fatalf("death after %v: visible %d times", dies, m.entries[0].seen)
		}
		if f := m.relays[1].fences[dead]; f == nil || !f.done || len(s.position.open) > 0 {
			t.Fatalf("death after %v: the dead lane is not fenced, or stands open", dies)
		}
	}
}

func TestFenceAbortsWhatStandsOpen(t *testing.T) {
	m, s, dead := pair(t, 4*time.Millisecond) // joined and appended, the end is not sent
	open := s.position.open
	if len(open) != 1 || open[0].txn.lane != dead {
		t.Fatalf("%d transactions stand open", len(open))
	}
	fenced := false
	m.relays[1].fence(dead, func() { fenced = true })
	m.run(time.Second)
	if !fenced || open[0].txn.state != aborted || len(s.position.open) != 0 || s.done != 0 || m.entries[0].seen != 0 {
		t.Errorf("fenced %v, state %v, %d open, visible %d times", fenced, open[0].txn.state, len(s.position.open), m.entries[0].seen)
	}
}

func TestReadsAreBounded(t *testing.T) {
	m := small(t, "-reads=2")
	r, most, seen := m.relays[0], 0, 0
	for range 7 {
		r.read(m.shards[0], &write{visible: true}, 0, func() { seen++ })
	}
	for m.now < time.Second {
		m.run(m.now + 100*time.Microsecond)
		most = max(most, r.reads)
	}
	if most != 2 || seen != 7 {
		t.Errorf("%d at once, %d in all, want 2 and 7", most, seen)
	}
}
