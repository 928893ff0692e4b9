package consistency

import (
	"fmt"
	"slices"
)

// place is where a record is.
type place struct {
	partition int // its index
	offset    int64
}

// orderChecks says, by the index of the partition, which records may be out of order: those that
// are after one of a later entry. The first record of an entry is looked at alone; another one is a
// duplicate already.
func (c *collected) orderChecks(topics topicSet) map[int]*orderCheck {
	further := c.further(topics)
	checks := map[int]*orderCheck{}
	for number := range c.shards {
		s := &c.shards[number]
		for _, d := range slices.Concat(s.disordered, c.late.disordered[number]) {
			if further[place{d.partition, d.offset}] || s.upTo.Less(d.id) {
				continue
			}
			check := checks[d.partition]
			if check == nil {
				check = &orderCheck{suspects: map[int64]bool{}, greatest: map[keyOfShard]EntryID{}}
				checks[d.partition] = check
			}
			check.suspects[d.offset] = true
			check.greatest[keyOfShard{number, d.key}] = EntryID{}
			check.end = max(check.end, d.offset+1)
		}
	}
	return checks
}

// further are the records that are not the one of their entry: duplicates, records in another
// topic, and those of no entry.
func (c *collected) further(topics topicSet) map[place]bool {
	out := map[place]bool{}
	add := func(topic string, partition int32, offset int64) {
		if p := topics.place(topic, partition); p != nil {
			out[place{p.index, offset}] = true
		}
	}
	for i := range c.mismatches {
		l := &c.mismatches[i].look
		for _, f := range l.findings {
			if f.Kind == Duplicated || f.Kind == Misdirected {
				add(f.Topic, f.Partition, f.Offset)
			}
		}
		for _, f := range l.orphans {
			add(f.topic, f.partition, f.offset)
		}
	}
	return out
}

func (o *overtaken) finding() Finding {
	detail := fmt.Sprintf("comes after the record of entry %s, which has the same key", o.by)
	f := o.record.finding(Reordered, o.shard, detail)
	f.ID = o.eventID
	return f
}
