package main

import (
	"slices"
	"time"
)

// loss is what dies at one moment. clean: the brokers' leaders have moved before. silent: nothing
// refuses connections either.
type loss struct {
	name            string
	relays, brokers func(zone, n int) bool
	clean, silent   bool
	group           int // the zone of the group's coordinator
}

func nobody(int, int) bool      { return false }
func first(_, n int) bool       { return n == 0 }
func zoneZero(zone, _ int) bool { return zone == 0 }

var losses = []loss{
	{name: "one relay, killed", relays: first, brokers: nobody},
	{name: "one broker, shut down", relays: nobody, brokers: first, clean: true},
	{name: "one broker, killed", relays: nobody, brokers: first},
	{
		name: "one zone, the group's coordinator elsewhere", relays: zoneZero, brokers: zoneZero,
		silent: true, group: 1,
	},
	{
		name: "one zone, the group's coordinator in it", relays: zoneZero, brokers: zoneZero,
		silent: true,
	},
}

func (m *model) lose(x loss) {
	m.held = map[*partition]bool{}
	m.group = m.group[x.group : x.group+1]
	var relays []*relay
	for n, r := range m.relays {
		if r.dead = x.relays(r.zone, n); !r.dead {
			continue
		}
		relays = append(relays, r)
		for _, l := range r.lanes {
			l.die()
			m.timeOut(l)
		}
	}
	for n, b := range m.brokers {
		if x.brokers(b.zone, n) {
			m.loseBroker(b, x.clean, x.silent)
		}
	}
	if len(relays) > 0 {
		m.rebalance(relays)
	}
}

// loseBroker ends all lanes: with keys spread over a topic each has written to every broker. Their
// relays take the shards again, each after a short wait of its own.
func (m *model) loseBroker(b *broker, clean, silent bool) {
	if clean {
		m.elect(b)
	} else {
		m.after(m.BrokerSession-m.random(2*time.Second), func() { m.elect(b) })
	}
	b.dead = true
	for _, r := range m.relays {
		noticed := m.delay(b.zone, r.zone)
		if silent {
			noticed = m.Stall
		}
		for _, l := range r.lanes {
			m.after(noticed, func() {
				for _, s := range l.die() {
					m.after(50*time.Millisecond+m.random(100*time.Millisecond), func() { r.take(s) })
				}
			})
		}
	}
}

// die ends a lane, and returns the shards that have lost their seats.
func (l *lane) die() []*shard {
	l.dead = true
	shards := l.shards
	l.shards = nil
	for _, s := range shards {
		s.lane = nil
	}
	return shards
}

// timeOut has the coordinators abort what is open, if nobody fences the lane before.
func (m *model) timeOut(l *lane) {
	for _, x := range l.ids {
		m.after(m.TxnTimeout+m.random(10*time.Second), func() { m.abort(x) })
	}
}

// rebalance is the group's: it notices that members are silent, lets the others join, and gives
// them what has no owner. A new coordinator gives every member a new session.
func (m *model) rebalance(lost []*relay) {
	heartbeat, moved := min(m.Session/4, 2*time.Second), m.group[0].leader().dead
	m.led(m.group[0], func(*broker) {
		first, joined := time.Hour, time.Duration(0)
		for range lost {
			expires := m.Session
			if !moved {
				expires -= m.random(heartbeat) // it was heard before it died
			}
			first, joined = min(first, expires), max(joined, expires)
		}
		for round := range m.Rounds {
			from := first
			if round > 0 {
				from = joined
			}
			for _, r := range m.relays {
				if !r.dead {
					joined = max(joined, from+m.random(heartbeat))
				}
			}
		}
		m.after(joined, m.assign)
	})
}

// assign gives the shards of lost relays to the others in turn, when the group's log has it.
func (m *model) assign() {
	m.led(m.group[0], func(b *broker) {
		m.replicate(b, 1, func() {
			alive := slices.DeleteFunc(slices.Clone(m.relays), func(r *relay) bool { return r.dead })
			turn := 0
			for _, s := range m.shards {
				if s.claim.relay.dead {
					r := alive[turn%len(alive)]
					turn++
					m.answer(b, r.zone, func() { r.take(s) })
				}
			}
		}, m.group[0])
	})
}

// settled reports whether all shards are seated and none is late.
func (m *model) settled() bool {
	return !slices.ContainsFunc(m.shards, func(s *shard) bool {
		return s.lane == nil || s.done < len(s.entries) && m.now-m.entries[s.entries[s.done]].born > late
	})
}
