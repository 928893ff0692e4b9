package main

import (
	"slices"
	"time"
)

// broker has one queue for all of its cores.
type broker struct {
	n, zone int
	dead    bool
	free    []time.Duration // when each core has done what it was given
	busy    time.Duration   // CPU time so far
}

// serve queues what has arrived now, and returns how long it takes with its wait. Calls are in the
// order of arrival.
func (b *broker) serve(now, cost time.Duration) time.Duration {
	core := 0
	for i, free := range b.free {
		if free < b.free[core] {
			core = i
		}
	}
	b.free[core] = max(now, b.free[core]) + cost
	b.busy += cost
	return b.free[core] - now
}

// partition is a log with its replicas in sync, the leader first.
type partition struct {
	replicas    []*broker
	coordinates bool          // a new leader reads its log first
	ready       time.Duration // until then
	open        []*write      // by first record; the last stable offset is before it
	newest      *write        // of the transaction that is being collected
}

func (p *partition) leader() *broker { return p.replicas[0] }

func (m *model) delay(from, to int) time.Duration {
	if from == to {
		return m.InZone
	}
	return m.Between
}

// send has a request from a zone served by a broker. A broker that dies does nothing more.
func (m *model) send(zone int, b *broker, cost time.Duration, do func()) {
	m.after(m.delay(zone, b.zone), func() {
		if b.dead {
			return
		}
		m.after(b.serve(m.now, cost), func() {
			if !b.dead {
				do()
			}
		})
	})
}

func (m *model) answer(b *broker, zone int, do func()) { m.after(m.delay(b.zone, zone), do) }

// led calls do with the partition's leader, and asks again while there is none.
func (m *model) led(p *partition, do func(*broker)) {
	if b := p.leader(); !b.dead && m.now >= p.ready {
		do(b)
		return
	}
	m.after(m.random(m.Metadata), func() { m.led(p, do) })
}

// fetcher is a follower's fetching from a leader: one request at a time, with all that was appended
// meanwhile.
type fetcher struct {
	leader, follower *broker
	busy             bool
	queue, sent      []appended
}

type appended struct {
	cost time.Duration // at the follower
	ack  func()
}

// replicate calls done when all followers in sync have what was appended to partitions of one
// leader. A leader knows it from the follower's next fetch.
func (m *model) replicate(b *broker, records int, done func(), ps ...*partition) {
	left := 1
	ack := func() {
		if left--; left == 0 && !b.dead {
			done()
		}
	}
	for _, p := range ps {
		for _, follower := range p.replicas[1:] {
			left++
			f := m.fetchers[b.n][follower.n]
			f.queue = append(f.queue, appended{m.Follow +
				time.Duration(records)*m.FollowRec/time.Duration(len(ps)), ack})
			if !f.busy {
				m.fetch(f)
			}
		}
	}
	ack()
}

func (m *model) fetch(f *fetcher) {
	f.sent, f.queue, f.busy = f.queue, nil, true
	cost := time.Duration(0)
	for _, a := range f.sent {
		cost += a.cost
	}
	way := m.delay(f.leader.zone, f.follower.zone)
	m.after(f.leader.serve(m.now, m.Fetch)+way, func() {
		if f.follower.dead {
			return
		}
		m.after(f.follower.serve(m.now, cost)+way, func() {
			if f.leader.dead {
				return
			}
			f.acked()
			if f.busy = len(f.queue) > 0; f.busy {
				m.fetch(f)
			}
		})
	})
}

func (f *fetcher) acked() {
	sent := f.sent
	f.sent = nil
	for _, a := range sent {
		a.ack()
	}
}

// elect takes a broker out of all partitions: the next replica leads, and nobody waits for its
// fetches any more.
func (m *model) elect(lost *broker) {
	for _, p := range m.all {
		if p.coordinates && p.leader() == lost {
			p.ready = m.now + m.Load
		}
		p.replicas = slices.DeleteFunc(p.replicas, func(b *broker) bool { return b == lost })
	}
	for _, fetchers := range m.fetchers {
		f := fetchers[lost.n]
		f.sent, f.queue = append(f.sent, f.queue...), nil
		f.acked()
	}
	m.resume(lost)
}
