package main

import (
	"testing"
	"time"
)

// give appends entries to the only shard.
func give(m *model, n int) {
	s := m.shards[0]
	for range n {
		s.entries = append(s.entries, int32(len(m.entries)))
		m.entries = append(m.entries, entry{to: m.topic[0], born: m.now})
	}
	s.lane.begin()
}

// Costs and ways of one entry, in µs, as config.go has them. The coordinator and the leader of the
// positions are in the relay's zone, the leader of the topic is not.
//
//	replicated  1251 = 40 + 600 + 10 + 1 + 600
//	join        2001 = 250 + 50 + 200 + 1251 + 250
//	produce     2598 = 600 + (120 + 25 + 2) + 1251 + 600
//	end         1751 = 250 + 50 + 200 + 1251, its answer is not waited for
//	marker      1871 = 600 + 20 + 1251
func TestLaneAlone(t *testing.T) {
	visible := func(m *model) time.Duration {
		t.Helper()
		for len(m.latencies) == 0 && m.now < time.Second {
			m.run(m.now + time.Microsecond)
		}
		return m.now
	}
	t.Run("client joins", func(t *testing.T) {
		m := small(t)
		give(m, 1)
		if got, want := visible(m), 8221*time.Microsecond; got != want { // 2001 + 2598 + 1751 + 1871
			t.Errorf("visible after %v, want %v", got, want)
		}
	})
	// The leader of the positions is nearer and joins first. The other one comes 1397 after the
	// beginning, while that is replicated, is refused, and comes again after 20,000.
	//
	//	30171 = 600 + 147 + (600 + 50 + 600) + 20000 + (600 + 250 + 1251 + 600)
	//	        + 1251 + 600 + 1751 + 1871
	t.Run("leaders join one after the other", func(t *testing.T) {
		m := small(t, "-join=leaders")
		give(m, 1)
		if got, want := visible(m), 30171*time.Microsecond; got != want {
			t.Errorf("visible after %v, want %v", got, want)
		}
	})
	// A lane begins again after join, produce, end and its answer: 2001 + 2598 + 2001.
	t.Run("ids take turns", func(t *testing.T) {
		m := small(t)
		give(m, 1)
		l := m.relays[0].lanes[0]
		for turn := range 2 {
			began := time.Duration(turn) * 6600 * time.Microsecond
			m.run(began + time.Microsecond)
			if l.turn != turn%2 || l.began != began {
				t.Fatalf("transaction %d: turn %d, began at %v, want %v", turn, l.turn, l.began, began)
			}
			give(m, 1)
		}
	})
	t.Run("an id is refused until its markers are written", func(t *testing.T) {
		m := small(t, "-cpu-marker=30ms")
		l := m.relays[0].lanes[0]
		give(m, 1)
		m.run(7 * time.Millisecond) // the first one is committed, its marker takes longer
		l.turn = 0
		give(m, 1)
		if m.run(27 * time.Millisecond); m.txns != 1 {
			t.Fatalf("%d transactions", m.txns)
		}
		if m.run(100 * time.Millisecond); m.txns != 2 || len(m.latencies) != 2 {
			t.Errorf("%d transactions, %d visible, want 2", m.txns, len(m.latencies))
		}
	})
	t.Run("what waits shares a transaction, up to its bound", func(t *testing.T) {
		m := small(t, "-max-entries=5")
		l := m.relays[0].lanes[0]
		l.busy = true
		give(m, 12)
		l.busy = false
		l.begin()
		m.run(time.Second)
		if m.txns != 3 || len(m.latencies) != 12 {
			t.Errorf("%d transactions of %d entries, want 3 of 12", m.txns, len(m.latencies))
		}
	})
	t.Run("linger is the time between two beginnings", func(t *testing.T) {
		m := small(t, "-linger=50ms")
		give(m, 1)
		m.run(10 * time.Millisecond)
		give(m, 1)
		if m.run(49 * time.Millisecond); m.txns != 1 {
			t.Errorf("%d transactions within 50 ms", m.txns)
		}
		if m.run(60 * time.Millisecond); m.txns != 2 {
			t.Errorf("%d transactions, want 2", m.txns)
		}
	})
}
