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

// finding is about the record.
func (f *found) finding(k Kind, shard int, detail string) Finding {
	return Finding{
		Kind: k, Shard: shard, Entry: f.id, Count: 1,
		Topic: f.topic, Partition: f.partition, Offset: f.offset, Detail: f.evidence(detail),
	}
}

func (f *found) at() string { return fmt.Sprintf("%s/%d/%d", f.topic, f.partition, f.offset) }

// comparison is what holding entries against their records has shown.
type comparison struct {
	findings []Finding
	orphans  []found // records of no entry
	// elsewhere: the only record of an entry is in a partition that is not its own, where the round
	// may not have come to it.
	elsewhere bool
}

// compareEntries holds entries, in ascending order, against all their records.
func compareEntries(shard int, entries []wanted, records []found) (out comparison) {
	byID := make(map[EntryID][]found, len(entries))
	for _, f := range records {
		byID[f.id] = append(byID[f.id], f)
	}
	for i := range entries {
		w := &entries[i]
		findings := compareEntry(shard, w, byID[w.id])
		for _, f := range findings {
			out.elsewhere = out.elsewhere || f.Kind == Altered && f.Partition != w.partition
		}
		out.findings = append(out.findings, findings...)
		delete(byID, w.id)
	}
	for _, f := range records {
		if _, ok := byID[f.id]; ok {
			out.orphans = append(out.orphans, f)
		}
	}
	return out
}

// compareEntry holds one entry against its records, all that there are. The rules:
//
//   - An entry has one record, in its own topic, or is a dead letter. Entries that are no events,
//     or that have no topic, belong to the dead letters, others may be there.
//   - Of several records the one in the own topic counts, in the partition of the key before any
//     other, the first before later ones; without one in the own topic, the first of the others is
//     misdirected. Each further one is duplicated.
//   - What counts has to be what the entry says.
//
// records may be reordered.
func compareEntry(shard int, w *wanted, records []found) []Finding {
	if len(records) == 0 {
		return []Finding{w.missing(shard)}
	}
	slices.SortFunc(records, func(a, b found) int {
		return cmp.Or(cmp.Compare(w.rank(&a), w.rank(&b)), strings.Compare(a.topic, b.topic),
			cmp.Compare(a.partition, b.partition), cmp.Compare(a.offset, b.offset))
	})
	var findings []Finding
	add := func(k Kind, f *found, detail string) {
		x := f.finding(k, shard, detail)
		x.ID = w.eventID
		findings = append(findings, x)
	}
	first := &records[0]
	switch rank := w.rank(first); {
	case rank == misdirected && w.dead != "":
		add(Misdirected, first, w.dead+": it belongs to the dead letters")
	case rank == misdirected:
		add(Misdirected, first, "belongs to topic "+w.topic)
	case rank != deadLetter && first.hash != w.hash:
		add(Altered, first, difference(w.traits, first.traits, w.partition, first.partition))
	}
	for i := range records[1:] {
		// Compaction keeps what was written to the dead letters before and after a drop; that is
		// one dead letter.
		if f := &records[1+i]; !f.dead {
			add(Duplicated, f, "the entry is already at "+first.at())
		}
	}
	return findings
}

// rank orders the records of an entry: the first of the least rank is the one that counts.
type rank int

const (
	deadLetter rank = iota
	inPlace
	inTopic
	misdirected
)

func (w *wanted) rank(f *found) rank {
	switch {
	case f.dead:
		return deadLetter
	case w.dead != "" || f.topic != w.topic:
		return misdirected
	case f.partition == w.partition:
		return inPlace
	}
	return inTopic
}

// missing is the finding about an entry without a record.
func (w *wanted) missing(shard int) Finding {
	f := Finding{
		Kind: Lost, Shard: shard, Entry: w.id, Count: 1, ID: w.eventID,
		Topic: w.topic, Partition: w.partition, Offset: -1,
	}
	switch {
	case w.problem != "":
		f.Kind, f.Detail = Unverifiable, w.problem
	case w.dead != "":
		f.Partition, f.Detail = -1, w.dead+", and it is not among the dead letters"
	default:
		f.Detail = "no committed record of this entry"
	}
	return f
}

// alteration says what of a record is not what its entry says; empty if all is, or if the record is
// not where it belongs.
func alteration(w *wanted, f *found) string {
	if w.dead != "" || f.dead || w.topic != f.topic || w.hash == f.hash {
		return ""
	}
	return difference(w.traits, f.traits, w.partition, f.partition)
}
