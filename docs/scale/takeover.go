package main

import "time"

// take seats a shard of which the group, or the death of a lane, has made this relay the owner:
// claim, read, fence, barrier, read, as in docs/design.md. Nothing but the lane that had the shard
// has claimed it before.
func (r *relay) take(s *shard) {
	l, older := r.lane(s), s.claim
	l.control(s, func(claim *write) {
		s.claim = l
		r.read(s, claim, r.now, func() {
			r.after(r.grace(older), func() {
				r.fence(older, func() {
					r.ask(s.position, r.Request, func() { // what the older owner has left open
						l.control(s, func(barrier *write) { r.read(s, barrier, r.now, func() { l.seat(s) }) })
					})
				})
			})
		})
	})
}

func (l *lane) seat(s *shard) {
	s.lane, s.sent = l, s.done
	l.shards = append(l.shards, s)
	l.begin()
}

// lane returns the relay's lane for a shard, and makes it if it has died.
func (r *relay) lane(s *shard) *lane {
	slot := &r.lanes[s.n/r.Relays%len(r.lanes)]
	if (*slot).dead {
		*slot = r.newLane()
		(*slot).initialise()
	}
	return *slot
}

// ask is a question to a leader, with its answer.
func (r *relay) ask(p *partition, cost time.Duration, then func()) {
	r.led(p, func(b *broker) {
		r.send(r.zone, b, cost, func() { r.answer(b, r.zone, then) })
	})
}

// read reads a shard's partition until a record of its own is seen: two questions, a few partitions
// at once. It is seen when all transactions before it have ended. One that stays open is ended.
func (r *relay) read(s *shard, own *write, began time.Duration, then func()) {
	if r.reads == r.Reads {
		r.unread = append(r.unread, func() { r.read(s, own, began, then) })
		return
	}
	r.reads++
	r.ask(s.position, r.Request, func() {
		r.ask(s.position, r.Read, func() {
			r.reads--
			if len(r.unread) > 0 {
				next := r.unread[0]
				r.unread = r.unread[1:]
				next()
			}
			waited, before := r.now-began, s.position.open
			again := func() {
				r.after(min(max(waited, 2*time.Millisecond), 200*time.Millisecond), func() {
					r.read(s, own, began, then)
				})
			}
			switch {
			case own.visible:
				then()
			case waited > r.Grace && len(before) > 0 && before[0].txn.state == open &&
				before[0].txn.lane.dead:
				r.fence(before[0].txn.lane, again)
			default:
				again()
			}
		})
	})
}

// grace is how long an older owner is waited for, which may be about to release the shard. It is
// not if it is fenced, or this relay's own.
func (r *relay) grace(older *lane) time.Duration {
	if f := r.fences[older]; older.relay == r || f != nil && f.done {
		return 0
	}
	return r.Grace
}

// fencing is done once a relay.
type fencing struct {
	done    bool
	waiting []func()
}

func (r *relay) fence(l *lane, then func()) {
	f := r.fences[l]
	switch {
	case f == nil:
		f = &fencing{waiting: []func(){then}}
		r.fences[l] = f
		done := func() {
			f.done = true
			for _, do := range f.waiting {
				do()
			}
		}
		r.fenceID(l.ids[0], 5*time.Millisecond, func(dead bool) {
			if dead {
				done()
				return
			}
			r.fenceID(l.ids[1], 5*time.Millisecond, func(bool) { done() })
		})
	case f.done:
		then()
	default:
		f.waiting = append(f.waiting, then)
	}
}

// fenceID initialises an id. An open transaction is aborted, which shows when its state is asked
// for: the lane is dead then.
func (r *relay) fenceID(x *id, wait time.Duration, then func(dead bool)) {
	may := func() bool {
		r.abort(x)
		return x.txn == nil
	}
	r.change(r.zone, x, may, func() { x.fenced = true }, func(ok bool) {
		if ok {
			then(false)
			return
		}
		r.ask(x.log, r.Request, func() {
			if x.txn != nil && x.txn.state == aborted {
				then(true)
				return
			}
			r.after(wait, func() { r.fenceID(x, min(2*wait, 250*time.Millisecond), then) })
		})
	})
}
