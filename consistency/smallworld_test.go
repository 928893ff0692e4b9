package consistency

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/sluice-outbox/sluice/outbox"
)

// smallWorld is a few streams and topics in which faults are planted.
type smallWorld struct {
	streams *memoryStreams
	logs    *memoryLogs
	clock   uint64
	events  int
	planted []string
	// deletes and orphans are not planted in one world: which of the two a record without an entry
	// is, is then undecidable.
	deletes bool
	again   []func() // duplicates for a later stage
	// where the stage began: what comes before it has been audited and cannot change
	old     map[*memoryPartition]int64
	stalls  []bool           // shards that deliver nothing any more in this stage
	queued  [][]func()       // what they will deliver in the next one
	held    []func()         // records that come between two looks
	late    map[EntryID]bool // entries that may be late
	audited map[int]EntryID  // up to where each shard was delivered when the stage began
	removes bool             // the topics' retention is faster than the last audit
}

func newSmallWorld(t *rapid.T) *smallWorld {
	w := &smallWorld{
		streams: &memoryStreams{shards: make([]memoryStream, rapid.IntRange(1, 3).Draw(t, "shards"))},
		logs: &memoryLogs{
			byName:    map[string][]*memoryPartition{},
			positions: map[int]EntryID{},
		},
		deletes: rapid.Bool().Draw(t, "deletes"), clock: 1000, late: map[EntryID]bool{},
		removes: rapid.IntRange(0, 3).Draw(t, "removes") == 0,
	}
	w.stalls, w.queued = make([]bool, len(w.streams.shards)), make([][]func(), len(w.streams.shards))
	w.logs.make("t.a", rapid.IntRange(1, 4).Draw(t, "partitions a"))
	w.logs.make("t.b", rapid.IntRange(1, 3).Draw(t, "partitions b"))
	w.logs.make("other", 2)
	w.logs.make("dlq", 1)
	return w
}

func (w *smallWorld) id(t *rapid.T) EntryID {
	w.clock += uint64(rapid.IntRange(1, 3).Draw(t, "gap"))
	return EntryID{MS: w.clock}
}

// stage adds entries and their records, and plants faults among them.
func (w *smallWorld) stage(t *rapid.T, last bool) {
	again := w.again
	w.again = nil
	w.old = map[*memoryPartition]int64{}
	for _, partitions := range w.logs.byName {
		for _, p := range partitions {
			w.old[p] = int64(len(p.records))
		}
	}
	w.audited = maps.Clone(w.logs.positions)
	for shard, queued := range w.queued {
		w.queued[shard], w.stalls[shard] = nil, false
		for _, f := range queued {
			f()
		}
	}
	for range rapid.IntRange(0, 14).Draw(t, "entries") {
		// What is deleted before it was delivered is not delivered.
		if !last && !w.deletes && rapid.IntRange(0, 30).Draw(t, "stall") == 0 {
			w.stalls[rapid.IntRange(0, len(w.stalls)-1).Draw(t, "stalled")] = true
		}
		w.entry(t)
	}
	for _, f := range again {
		f()
	}
	if !last {
		return
	}
	// Something regular at the end of every shard, and the duplicates that are still to come.
	for shard := range w.streams.shards {
		w.regular(shard, w.id(t), fmt.Sprint("last", shard), "b", "k1")
	}
	for _, f := range w.again {
		f()
	}
}

// regular adds an entry that is delivered as it should be.
func (w *smallWorld) regular(shard int, id EntryID, event, aggregate, key string) {
	topic := "t." + aggregate
	w.streams.shards[shard].add(id, entryFields(event, aggregate, key, "created", "p")...)
	w.logs.append(topic, outbox.Partition([]byte(key), len(w.logs.byName[topic])),
		rawRecord(shard, id, event, "created", key, "p"))
	w.logs.positions[shard] = id
}

// deliver does what a relay does with an entry, now or when the shard goes on.
func (w *smallWorld) deliver(shard int, id EntryID, do func()) {
	f := func() {
		do()
		w.logs.positions[shard] = maxID(w.logs.positions[shard], id)
	}
	if w.stalls[shard] {
		w.queued[shard] = append(w.queued[shard], f)
		w.late[id] = true // if it comes while a run is at it
	} else {
		f()
	}
}

// release lets the records come that are held back.
func (w *smallWorld) release() {
	for _, f := range w.held {
		f()
	}
	w.held = nil
}

// remove takes the first records of the stage from a partition, as a retention does.
func (w *smallWorld) remove(t *rapid.T) {
	p := w.logs.byName[rapid.SampledFrom([]string{"t.a", "t.b"}).Draw(t, "removed from")][0]
	if n := int64(len(p.records)) - w.old[p]; n > 0 {
		p.start = w.old[p] + int64(rapid.IntRange(1, int(n)).Draw(t, "removed"))
		p.since = w.audited
		for o := w.old[p]; o < p.start; o++ {
			p.records[o] = nil
		}
	}
}

func (w *smallWorld) entry(t *rapid.T) {
	shard := rapid.IntRange(0, len(w.streams.shards)-1).Draw(t, "shard")
	s := &w.streams.shards[shard]
	if rapid.IntRange(0, 30).Draw(t, "orphan") == 0 && !w.deletes {
		id := w.id(t)
		w.plant(Orphaned, id)
		w.deliver(shard, EntryID{}, func() {
			w.logs.append("t.a", 0, rawRecord(shard, id, "never", "created", "k0", "p"))
		})
		// The stream goes on above it, or the record would be of an entry that the audit has not
		// come to.
	}
	id := w.id(t)
	w.events++
	event := fmt.Sprintf("e%d", w.events)
	aggregate := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "aggregate")
	key := rapid.SampledFrom([]string{"k0", "k1", "k2", "k3"}).Draw(t, "key")
	payload := rapid.SampledFrom([]string{"", "p", "payload"}).Draw(t, "payload")
	topic := "t." + aggregate
	n := len(w.logs.byName[topic])
	partition := outbox.Partition([]byte(key), n)
	good := func() *kgo.Record { return rawRecord(shard, id, event, "created", key, payload) }
	if rapid.IntRange(0, 2).Draw(t, "marker") == 0 {
		w.logs.append(topic, partition, nil)
	}
	deliver := func(do func()) { w.deliver(shard, id, do) }
	send := func(topic string, partition int, r *kgo.Record) {
		deliver(func() { w.logs.append(topic, partition, r) })
	}
	fault := rapid.IntRange(0, 44).Draw(t, "fault")
	if fault != 12 && fault != 13 {
		s.add(id, entryFields(event, aggregate, key, "created", payload)...)
	}
	switch fault {
	case 1, 2:
		w.plant(Lost, id)
		deliver(func() {})
	case 3:
		w.plant(Duplicated, id)
		send(topic, partition, good())
		send(topic, partition, good())
	case 4:
		w.plant(Duplicated, id)
		send(topic, partition, good())
		other := rapid.IntRange(0, n-1).Draw(t, "other")
		if w.stalls[shard] {
			other = partition // or the second one could come first
			send(topic, other, good())
			break
		}
		w.again = append(w.again, func() { w.logs.append(topic, other, good()) })
	case 5:
		w.plant(Duplicated, id)
		send(topic, partition, good())
		send("other", 0, good())
	case 6, 7:
		// In the place of the record before it: whether that is a fault depends on the keys.
		w.plant(Reordered, id)
		back := int64(rapid.IntRange(1, 4).Draw(t, "back"))
		deliver(func() {
			p := w.logs.byName[topic][partition]
			o := w.logs.append(topic, partition, good())
			if o-back >= w.old[p] && p.records[o-back] != nil {
				a, b := p.records[o], p.records[o-back]
				a.Offset, b.Offset = b.Offset, a.Offset
				p.records[o], p.records[o-back] = b, a
			}
		})
	case 8, 9:
		w.plant(Altered, id)
		r := good()
		switch rapid.IntRange(0, 7).Draw(t, "edit") {
		case 0:
			r.Value = append([]byte("x"), r.Value...)
		case 1:
			r.Key = []byte("k9")
		case 2:
			r.Headers[0].Value = []byte("other")
		case 3:
			r.Headers[0], r.Headers[1] = r.Headers[1], r.Headers[0]
		case 4:
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: "more", Value: []byte("x")})
		case 5:
			r.Headers = slices.Delete(r.Headers, 2, 3)
		case 6:
			r.Value = nil // a tombstone, beside an empty payload
		case 7:
			partition = (partition + 1) % n
		}
		send(topic, partition, r)
	case 10:
		w.plant(Misdirected, id)
		send(rapid.SampledFrom([]string{"other", "t.a", "t.b"}).Draw(t, "wrong"), 0, good())
	case 11:
		w.plant("dead letter", id)
		send("dlq", 0, deadRecord(shard, id))
	case 12:
		w.plant("not an event", id)
		s.add(id, "some", "thing")
		send("dlq", 0, deadRecord(shard, id))
	case 13:
		w.plant("not an event, lost", id)
		s.add(id, "some", "thing")
		if rapid.Bool().Draw(t, "in a topic") {
			send(topic, partition, good())
		} else {
			deliver(func() {})
		}
	case 14, 15:
		if !w.deletes {
			send(topic, partition, good())
			break
		}
		w.plant("deleted", id)
		s.del(id)
		if rapid.Bool().Draw(t, "delivered") {
			send(topic, partition, good())
		}
	case 16, 17:
		if w.stalls[shard] || w.removes {
			send(topic, partition, good())
			break
		}
		w.plant(Late, id)
		w.late[id] = true
		deliver(func() {})
		w.held = append(w.held, func() { w.logs.append(topic, partition, good()) })
	default:
		send(topic, partition, good())
	}
}

func (w *smallWorld) plant(k Kind, id EntryID) {
	w.planted = append(w.planted, fmt.Sprint(k, " ", id))
}

// String shows every entry and record, for a world that fails.
func (w *smallWorld) String() string {
	var b strings.Builder
	for name, partitions := range w.logs.byName {
		for i, p := range partitions {
			fmt.Fprintf(&b, "%s/%d from %d:", name, i, p.start)
			for _, r := range p.records {
				entry := "-"
				if r != nil {
					entry = strings.TrimPrefix(string(r.Headers[len(r.Headers)-1].Value), "o/")
				}
				fmt.Fprintf(&b, " %s", entry)
			}
			fmt.Fprintln(&b)
		}
	}
	for shard, s := range w.streams.shards {
		fmt.Fprintf(&b, "shard %d, added %d:", shard, s.added)
		for _, e := range s.entries {
			fmt.Fprintf(&b, " %s", e.id)
		}
		fmt.Fprintln(&b)
	}
	fmt.Fprint(&b, w.planted)
	return b.String()
}
