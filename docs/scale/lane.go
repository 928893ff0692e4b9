package main

import (
	"slices"
	"time"
)

// lane has two ids that take turns, and a transaction at a time.
type lane struct {
	*model
	relay   *relay
	ids     [2]*id
	turn    int
	dead    bool
	busy    bool // making its ids, or in a transaction
	lingers bool
	began   time.Duration
	shards  []*shard
	first   int // shard of the next transaction, so that none is always the last
	claims  []*write
}

// newLane makes a lane whose ids are not initialised yet.
func (r *relay) newLane() *lane {
	l := &lane{model: r.model, relay: r, busy: true, began: -time.Hour}
	for i := range l.ids {
		l.ids[i] = &id{log: r.txnLog[r.rng.IntN(len(r.txnLog))]}
	}
	r.ids = append(r.ids, l.ids[:]...)
	return l
}

// initialise makes the lane usable.
func (l *lane) initialise() {
	left := len(l.ids)
	for _, x := range l.ids {
		l.change(l.relay.zone, x, func() bool { return true }, func() {}, func(bool) {
			if left--; left == 0 {
				l.busy = false
				l.begin()
			}
		})
	}
}

// control has the next transaction carry a claim or a barrier.
func (l *lane) control(s *shard, done func(*write)) {
	l.claims = append(l.claims, &write{to: s.position, records: 1, control: done})
	l.begin()
}

// begin starts a transaction if there is something for one, and none is under way.
func (l *lane) begin() {
	if l.dead || l.busy || len(l.claims) == 0 && !slices.ContainsFunc(l.shards, (*shard).waits) {
		return
	}
	if wait := l.began + l.Linger - l.now; wait > 0 {
		if !l.lingers {
			l.lingers = true
			l.after(wait, func() { l.lingers = false; l.begin() })
		}
		return
	}
	l.busy, l.began = true, l.now
	t := l.collect()
	if l.Join == "client" {
		l.join(t, l.relay.zone, t.writes, func() { l.produce(t) })
	} else {
		l.produce(t)
	}
}

// collect takes what waits of all shards.
func (l *lane) collect() *txn {
	t := &txn{id: l.ids[l.turn], lane: l}
	for _, w := range l.claims {
		w.txn, w.to.newest = t, w
		t.writes = append(t.writes, w)
	}
	l.claims = nil
	room := l.MaxEntries
	l.first++
	for i := range l.shards {
		s := l.shards[(l.first+i)%len(l.shards)]
		n := min(room, len(s.entries)-s.sent)
		if n == 0 {
			continue
		}
		room -= n
		for _, e := range s.entries[s.sent : s.sent+n] {
			w := t.write(l.entries[e].to)
			w.entries = append(w.entries, e)
		}
		t.write(s.position)
		s.sent += n
		t.parts = append(t.parts, part{s, s.sent})
	}
	return t
}

// write adds a record to what the transaction writes to a partition.
func (t *txn) write(p *partition) *write {
	if p.newest == nil || p.newest.txn != t {
		p.newest = &write{txn: t, to: p}
		t.writes = append(t.writes, p.newest)
	}
	p.newest.records++
	return p.newest
}

// join has partitions join the transaction, and tries again while the coordinator is busy with the
// id.
func (l *lane) join(t *txn, zone int, writes []*write, joined func()) {
	x := t.id
	may := func() bool { return !x.fenced && t.state == open && (x.txn == nil || x.txn == t) }
	l.change(zone, x, may, func() {
		x.txn = t
		for _, w := range writes {
			w.joined = true
		}
	}, func(ok bool) {
		switch {
		case ok:
			joined()
		case !l.dead:
			l.after(l.Retry, func() { l.join(t, zone, writes, joined) })
		}
	})
}

// produce sends a request to the leader of each partition. A leader that is not known is waited
// for.
func (l *lane) produce(t *txn) {
	if l.dead {
		return
	}
	for _, g := range l.byLeader(t.writes, func(*write) bool { return true }) {
		if !g[0].to.leader().dead {
			t.unsent++
			l.request(t, g)
			continue
		}
		t.unsent += len(g)
		for _, w := range g {
			l.led(w.to, func(*broker) { l.request(t, []*write{w}) })
		}
	}
}

// request is a produce request to one leader.
func (l *lane) request(t *txn, writes []*write) {
	b, records := writes[0].to.leader(), 0
	for _, w := range writes {
		records += w.records
	}
	write := func() {
		if t.state != open || b.dead {
			return
		}
		for _, w := range writes {
			w.to.open = append(w.to.open, w)
		}
		l.replicate(b, records, func() {
			l.answer(b, l.relay.zone, func() {
				if t.unsent--; t.unsent == 0 {
					l.commit(t)
				}
			})
		}, places(writes)...)
	}
	l.send(l.relay.zone, b, l.Produce+cost(l.Partition, len(writes))+cost(l.Record, records), func() {
		if l.Join == "client" {
			write()
		} else {
			l.join(t, b.zone, writes, write)
		}
	})
}

// commit ends a transaction that has all of its answers. Then the other id has its turn.
func (l *lane) commit(t *txn) {
	if l.dead {
		return
	}
	may := func() bool { return t.state == open }
	l.change(l.relay.zone, t.id, may, func() { l.decide(t, committed) }, func(ok bool) {
		if l.dead {
			return
		}
		if !ok {
			panic("a lane that lives was fenced")
		}
		l.busy = false
		l.turn ^= 1
		for _, w := range t.writes {
			if w.control != nil {
				w.control(w)
			}
		}
		l.begin()
	})
}
