package consistency

import (
	"cmp"
	"slices"
)

// Kind is what a finding says about an event.
type Kind string

// The kinds of findings.
const (
	// Lost: the entry has no record, although later ones of its shard have, or its shard's position
	// says that it was delivered.
	Lost Kind = "lost"
	// Duplicated: one more committed record of an entry that has one.
	Duplicated Kind = "duplicated"
	// Reordered: the record is after one of a later entry with the same key.
	Reordered Kind = "reordered"
	// Altered: key, payload, headers or partition are not what the entry says.
	Altered Kind = "altered"
	// Orphaned: a record of an entry that Redis does not have and never had: it went back.
	Orphaned Kind = "orphaned"
	// Misdirected: the record is in another topic than the route gives.
	Misdirected Kind = "misdirected"
	// Late: the record came later than Config.Settle after its entry was the last one of its shard,
	// seen by the second look or by a later audit. Not drift.
	Late Kind = "late"
	// Unverifiable: what could not be compared, and why.
	Unverifiable Kind = "unverifiable"
)

// Kinds are all kinds, the gravest first.
var Kinds = []Kind{Lost, Orphaned, Altered, Duplicated, Misdirected, Reordered, Unverifiable, Late}

// Drift reports whether a finding of this kind means that the two sides disagree.
func (k Kind) Drift() bool { return k != Late && k != Unverifiable }

// Finding is one disagreement, or one thing that could not be checked.
type Finding struct {
	Kind  Kind `json:"kind"`
	Shard int  `json:"shard"`
	// Entry is 0-0 where Redis only has the count of what is gone.
	Entry EntryID `json:"entry"`
	// Last is the end of a range of entries that one finding is about; 0-0: the finding is about
	// Entry alone.
	Last EntryID `json:"last,omitzero"`
	// Count is how many entries the finding is about, 1 or more.
	Count int64 `json:"count"`
	// ID is the id of the event; empty where the entry is gone.
	ID string `json:"id"`
	// Topic, Partition and Offset are the place of the record, or where it should be; Partition and
	// Offset are -1 where there is none.
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	// Detail is the evidence in words. Keys and payloads are in it as hashes.
	Detail string `json:"detail"`
}

func sortFindings(findings []Finding) {
	slices.SortStableFunc(findings, func(a, b Finding) int {
		if a.Shard != b.Shard {
			return cmp.Compare(a.Shard, b.Shard)
		}
		if a.Entry != b.Entry {
			if a.Entry.Less(b.Entry) {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(slices.Index(Kinds, a.Kind), slices.Index(Kinds, b.Kind)),
			cmp.Compare(a.Topic, b.Topic),
			cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
}
