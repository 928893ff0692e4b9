package main

import (
	"math/rand/v2"
	"time"
)

// model is a deployment and what happens in it.
type model struct {
	clock
	config
	rng       *rand.Rand
	brokers   []*broker
	fetchers  [][]*fetcher // by leader and follower
	all       []*partition
	positions []*partition
	topic     []*partition
	txnLog    []*partition
	group     []*partition // of which the first has the group of the relays
	ids       []*id
	relays    []*relay
	shards    []*shard
	entries   []entry
	ended     bool // nothing is appended to the outbox any more
	figures
}

// figures are what is counted.
type figures struct {
	txns, joined, markers int
	from                  time.Duration // of entries whose latency counts
	latencies             []time.Duration
	oldest, hidden        time.Duration // most age when committed, and when visible
	held                  map[*partition]bool
}

// late is the age from which an entry counts as late, and a shard that has one as still.
const late = time.Second

type entry struct {
	to         *partition
	born, done time.Duration
	seen       int // how often it became visible
}

type relay struct {
	*model
	zone   int
	dead   bool
	lanes  []*lane
	fences map[*lane]*fencing
	reads  int
	unread []func()
}

// shard has its entries up to done in Kafka, and those up to sent in its lane's transaction: done
// <= sent <= len(entries).
type shard struct {
	n          int
	position   *partition
	entries    []int32
	sent, done int
	lane       *lane // in which it is seated
	claim      *lane // the last one; who claims next fences it
	still      bool
	again      time.Duration // when its last late entry was committed
}

func (s *shard) waits() bool { return s.sent < len(s.entries) }

func newModel(cfg config) *model {
	m := &model{config: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0))}
	for n := range cfg.Brokers {
		m.brokers = append(m.brokers, &broker{
			n: n, zone: n % cfg.Zones,
			free: make([]time.Duration, cfg.Cores),
		})
	}
	for _, leader := range m.brokers {
		var row []*fetcher
		for _, follower := range m.brokers {
			row = append(row, &fetcher{leader: leader, follower: follower})
		}
		m.fetchers = append(m.fetchers, row)
	}
	m.positions, m.topic = m.newTopic(cfg.Shards, 0, false), m.newTopic(cfg.Shards, 7, false)
	m.txnLog, m.group = m.newTopic(cfg.Logs, 0, true), m.newTopic(cfg.Zones, 0, true)
	for n := range cfg.Relays {
		r := &relay{model: m, zone: n % cfg.Zones, fences: map[*lane]*fencing{}}
		lanes := cfg.Lanes
		if lanes == 0 {
			lanes = (cfg.Shards + cfg.Relays - 1) / cfg.Relays
		}
		for range lanes {
			l := r.newLane()
			l.busy = false
			r.lanes = append(r.lanes, l)
		}
		m.relays = append(m.relays, r)
	}
	for n := range cfg.Shards {
		s := &shard{n: n, position: m.positions[n]}
		l := m.relays[n%cfg.Relays].lane(s)
		s.claim = l
		l.seat(s)
		m.shards = append(m.shards, s)
	}
	m.after(0, m.append)
	return m
}

// newTopic makes a topic. Leaders go around the brokers, followers are in the next two zones.
func (m *model) newTopic(partitions, first int, coordinates bool) (made []*partition) {
	for n := range partitions {
		p := &partition{coordinates: coordinates}
		for zone := range 3 {
			p.replicas = append(p.replicas, m.brokers[(first+n+zone+zone*m.Zones*(n/m.Brokers+1))%m.Brokers])
		}
		made = append(made, p)
	}
	m.all = append(m.all, made...)
	return made
}

// random is a time below most.
func (m *model) random(most time.Duration) time.Duration {
	return time.Duration(m.rng.Float64() * float64(most))
}

// append appends an entry to the outbox, and does it again.
func (m *model) append() {
	if m.ended {
		return
	}
	s := m.shards[m.rng.IntN(len(m.shards))]
	s.entries = append(s.entries, int32(len(m.entries)))
	m.entries = append(m.entries, entry{to: m.topic[m.rng.IntN(len(m.topic))], born: m.now})
	if s.lane != nil {
		s.lane.begin()
	}
	m.after(time.Duration(m.rng.ExpFloat64()/m.Rate/float64(m.Shards)*float64(time.Second)), m.append)
}

// deliver commits a shard's entries before end.
func (m *model) deliver(s *shard, end int) {
	for ; s.done < end; s.done++ {
		e := &m.entries[s.entries[s.done]]
		e.done = m.now
		if m.now-e.born > late {
			s.still, s.again = true, m.now
		}
		m.oldest = max(m.oldest, m.now-e.born)
	}
}

// show makes entries visible to consumers.
func (m *model) show(w *write) {
	for _, n := range w.entries {
		e := &m.entries[n]
		e.seen++
		if e.born >= m.from {
			m.latencies = append(m.latencies, m.now-e.born)
		}
		m.hidden = max(m.hidden, m.now-e.born)
		if m.held != nil && m.now-e.done > late {
			m.held[w.to] = true // an earlier transaction stood open
		}
	}
}

// byLeader groups writes by the leaders of their partitions.
func (m *model) byLeader(writes []*write, which func(*write) bool) (groups [][]*write) {
	by := make([][]*write, len(m.brokers))
	for _, w := range writes {
		if which(w) {
			n := w.to.leader().n
			by[n] = append(by[n], w)
		}
	}
	for _, g := range by {
		if len(g) > 0 {
			groups = append(groups, g)
		}
	}
	return groups
}

func places(writes []*write) []*partition {
	ps := make([]*partition, len(writes))
	for i, w := range writes {
		ps[i] = w.to
	}
	return ps
}

func cost(each time.Duration, n int) time.Duration { return each * time.Duration(n) }
