package main

import (
	"testing"
	"time"
)

// small is a deployment of which each part can be computed by hand: three brokers, a relay beside
// the first, no entries.
func small(t *testing.T, args ...string) *model {
	t.Helper()
	m := newModel(with(t, append([]string{"-shards=1", "-relays=1", "-brokers=3", "-txn-partitions=1"},
		args...)...))
	m.ended = true
	return m
}

func TestBrokerServesInTheOrderOfArrival(t *testing.T) {
	b := &broker{free: make([]time.Duration, 2)}
	for i, want := range []time.Duration{10, 4, 8, 14} { // two cores: until 10, 4, 8, 14
		if got := b.serve(0, []time.Duration{10, 4, 4, 6}[i]); got != want {
			t.Errorf("request %d takes %v, want %v", i, got, want)
		}
	}
	if got := b.serve(12, 3); got != 3 { // one core is free since 10
		t.Errorf("a request to an idle core takes %v", got)
	}
	if b.busy != 27 {
		t.Errorf("%v of CPU, want 27", b.busy)
	}
}

// replicated is a fetch, the way to the follower, what it does with one partition and record, and
// its next fetch.
const replicated = 40*time.Microsecond + 600*time.Microsecond + 11*time.Microsecond +
	600*time.Microsecond

func TestReplicate(t *testing.T) {
	t.Run("is done when both followers have fetched", func(t *testing.T) {
		m := small(t)
		p, at := m.topic[0], time.Duration(0)
		m.replicate(p.leader(), 1, func() { at = m.now }, p)
		m.run(time.Second)
		if at != replicated {
			t.Errorf("after %v, want %v", at, replicated)
		}
	})
	t.Run("what is appended during a fetch shares the next one", func(t *testing.T) {
		m := small(t)
		p := m.topic[0]
		var at []time.Duration
		for range 3 {
			m.replicate(p.leader(), 1, func() { at = append(at, m.now) }, p)
		}
		m.run(time.Second)
		second := 2*replicated + 11*time.Microsecond // two partitions in the second fetch
		if len(at) != 3 || at[0] != replicated || at[1] != second || at[2] != second {
			t.Errorf("at %v, want %v and twice %v", at, replicated, second)
		}
	})
	t.Run("a dead follower holds it up until the controller has noticed", func(t *testing.T) {
		m := small(t)
		p, at := m.topic[0], time.Duration(0)
		p.replicas[1].dead = true
		m.replicate(p.leader(), 1, func() { at = m.now }, p)
		m.after(9*time.Second, func() { m.elect(p.replicas[1]) })
		m.run(time.Minute)
		if at != 9*time.Second {
			t.Errorf("after %v, want 9 s", at)
		}
		m.replicate(p.leader(), 1, func() { at = m.now }, p)
		m.run(2 * time.Minute)
		if want := time.Minute + replicated; at != want {
			t.Errorf("without it at %v, want %v", at, want)
		}
	})
	t.Run("a dead leader never answers, and another replica leads", func(t *testing.T) {
		m := small(t)
		p := m.topic[0]
		lost, next := p.leader(), p.replicas[1]
		m.replicate(lost, 1, func() { t.Error("a dead leader has answered") }, p)
		lost.dead = true
		var led *broker
		m.led(p, func(b *broker) { led = b })
		m.run(time.Second)
		if led != nil {
			t.Error("a dead broker leads")
		}
		m.elect(lost)
		if m.run(2 * time.Second); led != next {
			t.Errorf("%v leads, want the first replica that lives", led)
		}
	})
}

func TestReplicasAreInAllZones(t *testing.T) {
	m := newModel(with(t))
	leads := map[*broker]int{}
	for _, p := range m.all {
		zones := map[int]bool{}
		for _, b := range p.replicas {
			zones[b.zone] = true
		}
		if len(p.replicas) != 3 || len(zones) != 3 {
			t.Fatalf("%d replicas in %d zones", len(p.replicas), len(zones))
		}
		leads[p.leader()]++
	}
	for _, b := range m.brokers {
		if n := len(m.all) / len(m.brokers); leads[b] < n-2 || leads[b] > n+3 {
			t.Errorf("broker %d leads %d partitions, of %d on average", b.n, leads[b], n)
		}
	}
}

func TestNewCoordinatorReadsItsLog(t *testing.T) {
	m := small(t, "-load=700ms", "-metadata=1ms")
	log, at := m.txnLog[0], time.Duration(0)
	m.elect(log.leader())
	m.led(log, func(*broker) { at = m.now })
	if m.run(time.Second); at < 700*time.Millisecond || at > 702*time.Millisecond {
		t.Errorf("it answers after %v, want 700 ms", at)
	}
}
