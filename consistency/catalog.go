package consistency

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// catalog has the topics of an outbox as the cluster described them when a run came to know them.
// It only grows: the readers of a round add the topics that entries name, and share it for that.
type catalog struct {
	logs       logs
	deadLetter string
	shards     int
	earlier    []topicMark // how far earlier runs have read
	restarted  bool        // a shard is audited from its beginning

	mu    sync.Mutex
	known topicSet
	notes []string
}

// topicSet is what a catalog had at one moment. It does not change.
type topicSet struct {
	byName     map[string]*knownTopic
	partitions []*partition // by their index
}

// knownTopic is a topic that is not changed any more.
type knownTopic struct {
	topic
	dead  bool
	first int // index of partition 0
}

// partition is a partition of a topic that may hold records of the outbox. It is not changed
// either.
type partition struct {
	topic   *knownTopic
	number  int32
	index   int            // among all partitions of the catalog
	initial partitionState // as the run found it
}

func newCatalog(logs logs, deadLetter string, shards int, earlier []topicMark,
	restarted bool,
) *catalog {
	return &catalog{
		logs: logs, deadLetter: deadLetter, shards: shards, earlier: earlier, restarted: restarted,
		known: topicSet{byName: map[string]*knownTopic{}},
	}
}

// find gives a topic by its name.
func (c *catalog) find(ctx context.Context, name string) (*knownTopic, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.known.byName[name]; k != nil {
		return k, nil
	}
	if err := c.describe(ctx, []string{name}, nil); err != nil {
		return nil, err
	}
	return c.known.byName[name], nil
}

// add makes topics known by their names, and by patterns of names.
func (c *catalog) add(ctx context.Context, names, patterns []string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.describe(ctx, names, patterns)
}

// snapshot is what is known now.
func (c *catalog) snapshot() topicSet {
	c.mu.Lock()
	defer c.mu.Unlock()
	return topicSet{maps.Clone(c.known.byName), slices.Clone(c.known.partitions)}
}

// takeNotes gives what cannot be compared of the topics that were added since the last call.
func (c *catalog) takeNotes() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	notes := c.notes
	c.notes = nil
	return notes
}

func (c *catalog) describe(ctx context.Context, names, patterns []string) error {
	described, err := c.logs.topics(ctx, names, patterns)
	if err != nil {
		return err
	}
	described = slices.DeleteFunc(described, func(t topic) bool {
		return c.known.byName[t.name] != nil
	})
	var readable []string
	for _, t := range described {
		if t.problem == "" {
			readable = append(readable, t.name)
		}
	}
	ends, err := c.logs.bounds(ctx, readable)
	if err != nil {
		return err
	}
	for _, t := range described {
		if n := len(ends[t.name]); t.problem == "" && n != t.partitions {
			return fmt.Errorf("topic %s has %d partitions and then %d: it is being changed", t.name,
				t.partitions, n)
		}
	}
	for _, t := range described {
		c.insert(t, ends[t.name])
	}
	return nil
}

func (c *catalog) insert(t topic, ends []bounds) {
	k := &knownTopic{topic: t, dead: t.name == c.deadLetter, first: len(c.known.partitions)}
	c.known.byName[t.name] = k
	mark := markNamed(c.earlier, t.name)
	if t.problem != "" {
		if mark != nil || k.dead {
			c.note("topic %s: %s", t.name, t.problem)
		}
		return
	}
	remade := mark != nil && mark.ID != t.id && mark.ID != ""
	if remade {
		c.note("topic %s was deleted and made again since the last audit: what it held before cannot "+
			"be compared", t.name)
		mark = nil
	}
	for i, b := range ends {
		p := &partition{topic: k, number: int32(i), index: len(c.known.partitions)}
		p.initial = c.open(p, b, mark, remade)
		c.known.partitions = append(c.known.partitions, p)
	}
}

// open gives the state of a partition at the beginning of a run. mark is that of its topic, nil if
// no run has read it.
func (c *catalog) open(p *partition, b bounds, mark *topicMark, remade bool) partitionState {
	s := partitionState{bounds: b, from: b.start, accepted: map[int64]bool{}, hole: map[int]bool{}}
	hole := b.start > 0 || remade
	if i := int(p.number); mark != nil && i < len(mark.From) {
		s.counted = mark.Counted[i]
		for _, shard := range mark.Hole[i] {
			s.hole[shard] = true
		}
		for _, o := range mark.Accepted[i] {
			s.accepted[o] = true
		}
		switch {
		case c.restarted:
			hole = b.start > 0
		case b.start > mark.From[i] && b.start > mark.Counted[i] && !p.topic.dead:
			hole = true
			c.note("topic %s, partition %d: records from offset %d to %d were removed, "+
				"by the topic's retention or by hand, before they were audited", p.topic.name, i,
				mark.Counted[i], b.start-1)
		default:
			hole = false
			s.from = max(b.start, mark.From[i])
		}
	}
	if mark != nil && mark.Unread {
		s.counted = b.end
	}
	if hole && !p.topic.dead {
		for shard := range c.shards {
			s.hole[shard] = true
		}
	}
	return s
}

func (c *catalog) note(format string, args ...any) {
	c.notes = append(c.notes, fmt.Sprintf(format, args...))
}

// readable are the names of the topics that can be read.
func (t topicSet) readable() []string {
	var names []string
	for name, k := range t.byName {
		if k.problem == "" {
			names = append(names, name)
		}
	}
	return names
}

// place gives the partition that a finding or a record names; nil if it is not known.
func (t topicSet) place(name string, number int32) *partition {
	k := t.byName[name]
	if k == nil || k.problem != "" || number < 0 || int(number) >= k.partitions {
		return nil
	}
	return t.partitions[k.first+int(number)]
}

// holes reports whether records were out of sight from the beginning: gone, or in a topic that
// cannot be read.
func (t topicSet) holes() bool {
	for _, k := range t.byName {
		if k.problem != "" && !k.dead {
			return true
		}
	}
	return slices.ContainsFunc(t.partitions, func(p *partition) bool {
		return len(p.initial.hole) > 0
	})
}
