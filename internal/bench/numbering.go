package bench

import "github.com/sluice-outbox/sluice/outbox"

// numbering chooses events by their keys, in ascending order of their numbers. Without keys it is
// all events.
type numbering struct {
	keys []int // ascending
	rank map[int]int
}

// numbersOf are the numbers of events whose key belongs to a shard that is wanted.
func (e *events) numbersOf(shards int, wanted func(shard int) bool) numbering {
	m := numbering{rank: map[int]int{}}
	for k := range keys {
		if wanted(outbox.Shard(e.key(k), shards)) {
			m.rank[k] = len(m.keys)
			m.keys = append(m.keys, k)
		}
	}
	return m
}

// forWriters leaves out the last keys, so that writers divides the number of keys: see
// stream.write.
func (m numbering) forWriters() numbering {
	for len(m.keys)%writers != 0 {
		last := len(m.keys) - 1
		delete(m.rank, m.keys[last])
		m.keys = m.keys[:last]
	}
	return m
}

// number is that of the event at an index; 0 <= index.
func (m numbering) number(index int) int {
	if m.keys == nil {
		return index
	}
	return m.keys[index%len(m.keys)] + index/len(m.keys)*keys
}

// index is the inverse; -1 if the stream has no event with the number.
func (m numbering) index(number int) int {
	if m.keys == nil || number < 0 {
		return max(-1, number)
	}
	rank, ok := m.rank[number%keys]
	if !ok {
		return -1
	}
	return rank + number/keys*len(m.keys)
}

// untilAll is how many events it takes until each of the shards that are wanted has one.
func (e *events) untilAll(m numbering, shards int, wanted func(shard int) bool) int {
	missing := map[int]bool{}
	for s := range shards {
		if wanted(s) {
			missing[s] = true
		}
	}
	n := 0
	for ; len(missing) > 0 && n < keys; n++ {
		delete(missing, outbox.Shard(e.key(m.number(n)), shards))
	}
	return n
}
