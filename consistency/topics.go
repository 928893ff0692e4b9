package consistency

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

type knownTopic struct {
	topic
	dead  bool
	first int // index of partition 0
}

// partition is a partition of a topic that may hold records of the outbox.
type partition struct {
	topic  *knownTopic
	number int32
	bounds
	from, counted int64
	accepted      map[int64]bool
	hole          map[int]bool // by shard: the first records were gone before they could be read, and none of the shard was seen behind them

	// Of the round:
	expected map[int]int64 // entries by shard whose record should be here
	tallies  map[int]*tally
	stop     int64 // where reading ended
}

// tally is what was seen of a shard in a partition.
type tally struct {
	seen   int64   // records of the round
	min    EntryID // of all records above the shard's point
	max    EntryID
	passed bool  // a record above the round was seen
	beyond int64 // offset of the first such; -1: none
}

// openLogs finds the topics and samples their ends. It comes after the settling time, and the positions before the ends:
// what a position says was delivered stands before the end that is sampled afterwards, or will at the second look.
func (e *engine) openLogs(ctx context.Context) error {
	if err := e.readPositions(ctx); err != nil {
		return err
	}
	names := []string{e.deadLetter}
	for _, m := range e.state.Topics {
		if !slices.Contains(names, m.Name) {
			names = append(names, m.Name)
		}
	}
	e.looked = e.now()
	return e.addTopics(ctx, names, e.watch)
}

func (e *engine) readPositions(ctx context.Context) (err error) {
	for _, s := range e.shards {
		if e.outside {
			s.position = lastID
		} else if s.position, err = e.logs.position(ctx, s.number); err != nil {
			return err
		}
	}
	return nil
}

// sample moves the ends of all partitions to where they are now.
func (e *engine) sample(ctx context.Context) error {
	if err := e.readPositions(ctx); err != nil {
		return err
	}
	e.looked = e.now()
	ends, err := e.logs.bounds(ctx, e.readable())
	if err != nil {
		return err
	}
	for _, p := range e.partitions {
		if b := ends[p.topic.name]; int(p.number) < len(b) {
			p.end, p.high = max(p.end, b[p.number].end), b[p.number].high
		}
	}
	return nil
}

// readable are the names of the topics that are read.
func (e *engine) readable() []string {
	var names []string
	for name, k := range e.topics {
		if k.problem == "" {
			names = append(names, name)
		}
	}
	return names
}

// addTopics makes topics known to the run.
func (e *engine) addTopics(ctx context.Context, names, patterns []string) error {
	described, err := e.logs.topics(ctx, names, patterns)
	if err != nil {
		return err
	}
	var readable []string
	for _, t := range described {
		if t.problem == "" && e.topics[t.name] == nil {
			readable = append(readable, t.name)
		}
	}
	ends, err := e.logs.bounds(ctx, readable)
	if err != nil {
		return err
	}
	for _, t := range described {
		if n := len(ends[t.name]); t.problem == "" && e.topics[t.name] == nil && n != t.partitions {
			return fmt.Errorf("topic %s has %d partitions and then %d: it is being changed", t.name, t.partitions, n)
		}
	}
	for _, t := range described {
		if e.topics[t.name] != nil {
			continue
		}
		k := &knownTopic{topic: t, dead: t.name == e.deadLetter, first: len(e.partitions)}
		e.topics[t.name] = k
		mark := e.mark(t)
		if t.problem != "" {
			if mark != nil || k.dead {
				e.report.incomplete("topic %s: %s", t.name, t.problem)
			}
			continue
		}
		remade := mark != nil && mark.ID != t.id && mark.ID != ""
		if remade {
			e.report.incomplete("topic %s was deleted and made again since the last audit: what it held before cannot be compared", t.name)
			mark = nil
		}
		e.addPartitions(k, ends[t.name], mark, remade)
	}
	return nil
}

func (e *engine) mark(t topic) *topicMark {
	for i := range e.state.Topics {
		if e.state.Topics[i].Name == t.name {
			return &e.state.Topics[i]
		}
	}
	return nil
}

func (e *engine) addPartitions(k *knownTopic, ends []bounds, mark *topicMark, remade bool) {
	restarted := slices.ContainsFunc(e.shards, func(s *shardRun) bool { return s.first })
	for i, b := range ends {
		p := &partition{topic: k, number: int32(i), bounds: b, from: b.start, accepted: map[int64]bool{}, hole: map[int]bool{}}
		hole := b.start > 0 || remade
		if mark != nil && i < len(mark.From) {
			p.counted = mark.Counted[i]
			hole = false
			for _, shard := range mark.Hole[i] {
				p.hole[shard] = true
			}
			switch {
			case restarted:
				hole = b.start > 0
			case b.start > mark.From[i] && b.start > mark.Counted[i] && !k.dead:
				hole = true
				e.report.incomplete("topic %s, partition %d: records from offset %d to %d were removed, by the topic's retention or by hand, before they were audited", k.name, i, mark.Counted[i], b.start-1)
			default:
				p.from = max(b.start, mark.From[i])
			}
			for _, o := range mark.Accepted[i] {
				p.accepted[o] = true
			}
		}
		if mark != nil && mark.Unread {
			p.counted = b.end
		}
		for _, s := range e.shards {
			if hole && !k.dead {
				p.hole[s.number] = true
			}
		}
		p.stop = p.from
		e.holed = e.holed || len(p.hole) > 0
		e.partitions = append(e.partitions, p)
	}
}

// keep writes what the round has compared into the state.
func (e *engine) keep() {
	before := e.state.Topics
	e.state.Topics = nil
	for _, k := range e.topics {
		if k.problem != "" {
			if k.hidden {
				m := topicMark{Name: k.name}
				if i := slices.IndexFunc(before, func(m topicMark) bool { return m.Name == k.name }); i >= 0 {
					m = before[i]
				}
				m.Unread = true
				e.state.Topics = append(e.state.Topics, m)
			}
			continue
		}
		m := topicMark{Name: k.name, ID: k.id, From: make([]int64, k.partitions), Counted: make([]int64, k.partitions)}
		for i := range k.partitions {
			p := e.partitions[k.first+i]
			m.From[i], m.Counted[i] = p.from, p.counted
			if len(p.hole) > 0 {
				if m.Hole == nil {
					m.Hole = map[int][]int{}
				}
				m.Hole[i] = slices.Sorted(maps.Keys(p.hole))
			}
			for o := range p.accepted {
				if o >= p.counted {
					if m.Accepted == nil {
						m.Accepted = map[int][]int64{}
					}
					m.Accepted[i] = append(m.Accepted[i], o)
				}
			}
		}
		e.state.Topics = append(e.state.Topics, m)
	}
	slices.SortFunc(e.state.Topics, func(a, b topicMark) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	e.state.Carried = slices.Clone(e.report.Findings)
}
