package consistency

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// wanted is an entry with what should be in Kafka of it.
type wanted struct {
	id      EntryID
	eventID string
	// dead says why the entry belongs to the dead letters, if it does.
	dead string
	// problem says why its topic cannot be read, if it cannot.
	problem   string
	topic     string
	partition int32
	hash      hash128
	traits    []trait
}

// found is a record with the entry that it names.
type found struct {
	id        EntryID
	topic     string
	partition int32
	offset    int64
	dead      bool // in the dead-letter topic
	repaired  bool
	producer  int64
	epoch     int16
	hash      hash128
	traits    []trait
}

// evidence adds who wrote the record.
func (f *found) evidence(detail string) string {
	if f.producer < 0 {
		return detail + "; written without a producer id"
	}
	return fmt.Sprintf("%s; written by producer %d, epoch %d", detail, f.producer, f.epoch)
}

func (f *found) at() string { return fmt.Sprintf("%s/%d/%d", f.topic, f.partition, f.offset) }

// verdictOf holds one entry against its records, all that there are. The rules:
//
//   - An entry has one record, in its own topic, or is a dead letter. Entries that are no events, or that have no
//     topic, belong to the dead letters, others may be there.
//   - Of several records the one in the own topic counts, in the partition of the key before any other, the first before later ones; without
//     one in the own topic, the first of the others is misdirected. Each further one is duplicated.
//   - What counts has to be what the entry says.
//
// records may be reordered.
func verdictOf(shard int, w *wanted, records []found) (findings []Finding) {
	add := func(k Kind, f *found, detail string) {
		x := Finding{Kind: k, Shard: shard, Entry: w.id, Count: 1, ID: w.eventID, Topic: w.topic, Partition: w.partition, Offset: -1, Detail: detail}
		if w.dead != "" {
			x.Partition = -1
		}
		if f != nil {
			x.Topic, x.Partition, x.Offset = f.topic, f.partition, f.offset
			x.Detail = f.evidence(x.Detail)
		}
		findings = append(findings, x)
	}
	rank := func(f *found) int {
		switch {
		case f.dead:
			return 0
		case w.dead != "" || f.topic != w.topic:
			return 3
		case f.partition == w.partition:
			return 1
		}
		return 2
	}
	slices.SortFunc(records, func(a, b found) int {
		return cmp.Or(cmp.Compare(rank(&a), rank(&b)), strings.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition), cmp.Compare(a.offset, b.offset))
	})
	if len(records) == 0 {
		switch {
		case w.problem != "":
			add(Unverifiable, nil, w.problem)
		case w.dead != "":
			add(Lost, nil, w.dead+", and it is not among the dead letters")
		default:
			add(Lost, nil, "no committed record of this entry")
		}
		return findings
	}
	first := &records[0]
	switch rank(first) {
	case 1, 2:
		if first.hash != w.hash {
			add(Altered, first, difference(w.traits, first.traits, w.partition, first.partition))
		}
	case 3:
		if w.dead != "" {
			add(Misdirected, first, w.dead+": it belongs to the dead letters")
		} else {
			add(Misdirected, first, "belongs to topic "+w.topic)
		}
	}
	for i := range records[1:] {
		// Compaction keeps what was written to the dead letters before and after a drop; that is one dead letter.
		if f := &records[1+i]; !f.dead {
			add(Duplicated, f, "the entry is already at "+first.at())
		}
	}
	return findings
}

// compareExactly holds entries, in ascending order, against their records. strangers are the records of no entry among them.
func compareExactly(shard int, entries []wanted, records []found) (findings []Finding, strangers []found) {
	byID := make(map[EntryID][]found, len(entries))
	for _, f := range records {
		byID[f.id] = append(byID[f.id], f)
	}
	for i := range entries {
		w := &entries[i]
		findings = append(findings, verdictOf(shard, w, byID[w.id])...)
		delete(byID, w.id)
	}
	for _, f := range records {
		if _, ok := byID[f.id]; ok {
			strangers = append(strangers, f)
		}
	}
	return findings, strangers
}
