package consistency

import (
	"maps"
	"slices"
	"strings"
)

// marksOf gives how far a run has read every topic, for the next run. earlier are the marks with
// which this one began.
func marksOf(topics topicSet, now runState, earlier []topicMark) []topicMark {
	var marks []topicMark
	for _, k := range topics.byName {
		switch {
		case k.problem == "":
			marks = append(marks, topics.markOf(k, now))
		case k.hidden:
			m := topicMark{Name: k.name}
			if before := markNamed(earlier, k.name); before != nil {
				m = *before
			}
			m.Unread = true
			marks = append(marks, m)
		}
	}
	slices.SortFunc(marks, func(a, b topicMark) int { return strings.Compare(a.Name, b.Name) })
	return marks
}

func (t topicSet) markOf(k *knownTopic, now runState) topicMark {
	m := topicMark{
		Name: k.name, ID: k.id, From: make([]int64, k.partitions),
		Counted: make([]int64, k.partitions),
	}
	for i := range k.partitions {
		p := now.partition(t.partitions[k.first+i])
		m.From[i], m.Counted[i] = p.from, p.counted
		if len(p.hole) > 0 {
			if m.Hole == nil {
				m.Hole = map[int][]int{}
			}
			m.Hole[i] = slices.Sorted(maps.Keys(p.hole))
		}
		if accepted := p.acceptedAbove(); len(accepted) > 0 {
			if m.Accepted == nil {
				m.Accepted = map[int][]int64{}
			}
			m.Accepted[i] = accepted
		}
	}
	return m
}

// acceptedAbove are the accepted offsets that counted does not cover.
func (p partitionState) acceptedAbove() []int64 {
	var above []int64
	for o := range p.accepted {
		if o >= p.counted {
			above = append(above, o)
		}
	}
	slices.Sort(above)
	return above
}

// markNamed is the mark of a topic, nil if there is none.
func markNamed(marks []topicMark, name string) *topicMark {
	for i := range marks {
		if marks[i].Name == name {
			return &marks[i]
		}
	}
	return nil
}
