package main

// id is a transactional id. Its coordinator is the leader of its partition of the transaction log.
type id struct {
	log     *partition
	at      *broker // that wrote its state last
	pending bool    // a change of its state is not replicated yet: all else is refused
	fenced  bool
	txn     *txn // open, or with markers under way
}

type state int

const (
	open state = iota
	committed
	aborted
)

type txn struct {
	id     *id
	lane   *lane
	state  state
	writes []*write
	parts  []part
	unsent int // produce requests without an answer
	left   int // markers
}

// part is what a transaction has of a shard: its entries before end.
type part struct {
	shard *shard
	end   int
}

// write is what a transaction writes to a partition.
type write struct {
	txn     *txn
	to      *partition
	records int
	entries []int32
	control func(*write) // of a claim or a barrier, when it is committed
	joined  bool
	ended   bool
	visible bool
}

// change has the coordinator of an id write a change of its state, if it may be: written is called
// there, answered at the caller. If not, the answer is CONCURRENT_TRANSACTIONS.
func (m *model) change(zone int, x *id, may func() bool, written func(), answered func(ok bool)) {
	m.led(x.log, func(b *broker) {
		m.send(zone, b, m.Request, func() {
			if x.pending || !may() {
				m.answer(b, zone, func() { answered(false) })
				return
			}
			m.persist(b, x, func() {
				written()
				m.answer(b, zone, func() { answered(true) })
			})
		})
	})
}

// persist writes the state of an id.
func (m *model) persist(b *broker, x *id, done func()) {
	x.at, x.pending = b, true
	m.after(b.serve(m.now, m.TxnWrite-m.Request), func() {
		m.replicate(b, 1, func() {
			x.pending = false
			done()
		}, x.log)
	})
}

// abort is the coordinator's, for whoever fences, or after the time-out.
func (m *model) abort(x *id) {
	if b := x.log.leader(); !b.dead && !x.pending && x.txn != nil && x.txn.state == open {
		m.persist(b, x, func() { m.decide(x.txn, aborted) })
	}
}

// decide ends a transaction. The log has the outcome; the markers follow.
func (m *model) decide(t *txn, s state) {
	t.state = s
	for _, w := range t.writes {
		if w.joined {
			t.left++
		}
	}
	if s == committed {
		for _, p := range t.parts {
			m.deliver(p.shard, p.end)
		}
		if len(t.parts) > 0 {
			m.txns++
			m.joined += t.left
		}
	}
	m.mark(t)
}

// mark sends the markers that are not written yet to all leaders. Those of partitions without one
// are sent when there is one.
func (m *model) mark(t *txn) {
	b := t.id.log.leader()
	for _, group := range m.byLeader(t.writes, func(w *write) bool { return w.joined && !w.ended }) {
		leader := group[0].to.leader()
		if leader.dead {
			continue
		}
		m.markers += len(group)
		m.send(b.zone, leader, cost(m.Marker, len(group)), func() {
			m.replicate(leader, len(group), func() {
				for _, w := range group {
					m.end(w)
				}
				m.answer(leader, b.zone, func() { m.complete(b, t) })
			}, places(group)...)
		})
	}
	m.complete(b, t)
}

// end is a marker. What comes after it, and is committed, becomes visible up to the next
// transaction that is open.
func (m *model) end(w *write) {
	if w.ended {
		return
	}
	w.ended = true
	w.txn.left--
	p := w.to
	for len(p.open) > 0 && p.open[0].ended {
		w := p.open[0]
		p.open = p.open[1:]
		w.visible = true
		if w.txn.state == committed {
			m.show(w)
		}
	}
}

// complete makes the id usable again.
func (m *model) complete(b *broker, t *txn) {
	if x := t.id; t.left == 0 && !b.dead && x.txn == t && !x.pending {
		m.persist(b, x, func() { x.txn = nil })
	}
}

// resume has new coordinators go on where a lost one was, and markers sent whose partitions have
// new leaders. What the lost one had not replicated has not happened.
func (m *model) resume(lost *broker) {
	for _, x := range m.ids {
		if x.at == lost {
			x.at, x.pending = nil, false
		}
		if x.txn != nil && x.txn.state != open {
			m.led(x.log, func(*broker) {
				if x.txn != nil && x.txn.state != open {
					m.mark(x.txn)
				}
			})
		}
	}
}
