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
	// Death in each tenth of a millisecond of a transaction, and a take-over at once: what was
	// committed is not delivered again, what was not is.
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
			t.Fatalf("death after %v: the dead lane is not fenced, or is open", dies)
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
	if !fenced || open[0].txn.state != aborted || len(s.position.open) != 0 || s.done != 0 ||
		m.entries[0].seen != 0 {
		t.Errorf("fenced %v, state %v, %d open, visible %d times", fenced, open[0].txn.state,
			len(s.position.open), m.entries[0].seen)
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

// What a lane has sent before it died may come after the fence.
func TestFencedLaneIsRefused(t *testing.T) {
	for _, x := range []struct {
		late  string
		fence time.Duration // begins
		dies  time.Duration // before the answer that would have it go on
		args  []string
	}{
		{"join", 0, 10 * time.Millisecond, []string{"-join=leaders", "-cpu-produce=20ms"}},
		{
			"join of a leader that was refused", 3 * time.Millisecond, 4 * time.Millisecond,
			[]string{"-join=leaders"},
		},
		{"produce", 2 * time.Millisecond, 3 * time.Millisecond, []string{"-cpu-produce=5ms"}},
		{"end", 1150 * time.Microsecond, 5000 * time.Microsecond, nil},
	} {
		t.Run(x.late, func(t *testing.T) {
			m := small(t, append([]string{"-relays=2"}, x.args...)...)
			dead := m.relays[0].lanes[0]
			give(m, 1)
			fenced := false
			m.after(x.fence, func() { m.relays[1].fence(dead, func() { fenced = true }) })
			m.after(x.dies, func() { dead.die() })
			m.run(time.Second)
			standing := len(m.positions[0].open) + len(m.topic[0].open)
			if !fenced || m.txns != 0 || m.shards[0].done != 0 || standing != 0 || dead.ids[0].txn != nil {
				t.Errorf("fenced %v, %d committed, %d partitions and id %v open", fenced, m.txns, standing,
					dead.ids[0].txn != nil)
			}
		})
	}
}

func TestEarlierOwnerIsGivenAMoment(t *testing.T) {
	seated := func(relay int) time.Duration {
		m, s, _ := pair(t, 20*time.Millisecond) // nothing is under way
		m.relays[0].dead = false
		for m.relays[relay].take(s); s.lane == nil && m.now < time.Second; {
			m.run(m.now + time.Millisecond)
		}
		return m.now
	}
	if own, other := seated(0), seated(1); own > 100*time.Millisecond ||
		other < own+250*time.Millisecond || other == time.Second {
		t.Errorf("seated at %v after a lane of its own, at %v after another relay's", own, other)
	}
}

func TestWhatNobodyFencesTimesOut(t *testing.T) {
	m, s, dead := pair(t, 4*time.Millisecond)
	m.timeOut(dead)
	if m.run(10 * time.Second); len(s.position.open) != 1 {
		t.Errorf("%d transactions stand open after 10 s, want 1", len(s.position.open))
	}
	if m.run(21 * time.Second); len(s.position.open) != 0 {
		t.Errorf("%d transactions stand open after 21 s", len(s.position.open))
	}
}
