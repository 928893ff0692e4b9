package consistency

import (
	"sort"
)

// tile is a range of a shard's entries, (after, to], with what was counted of it on both sides.
//
// A tile agrees when both sides have the same number and the same digest: then, but for the chance
// that [Digest] states, each of its entries has one record, as it should be, where it should be.
// Everything else about it is looked at entry by entry.
type tile struct {
	after, to EntryID
	entries   int64
	records   int64
	want, got Digest
	// odd: entries or records in it cannot be judged by the digest alone.
	odd bool
	// shortened: the rest of the tile has not been delivered, and entries and want still have it,
	// until the tile is read again.
	shortened bool
	// spans are the offsets of its records.
	spans []partitionSpans
}

// partitionSpans are ranges of offsets of a partition, ascending.
type partitionSpans struct {
	partition int // its index
	spans     []span
}

// span is a range of offsets, both inclusive.
type span struct{ first, last int64 }

func (t *tile) agrees() bool {
	return !t.odd && !t.shortened && t.entries == t.records && t.want == t.got
}

// tileRecords are the records of a tile in one partition.
type tileRecords struct {
	records int64
	got     Digest
	odd     bool
	spans   []span
}

// A record that is far from the others of its tile, a late duplicate for instance, has a span of
// its own, so that what is between need not be read again.
const (
	spanGap   = 2000
	mostSpans = 32
)

// add counts a record. Offsets ascend.
func (t *tileRecords) add(offset int64, h hash128) {
	t.records++
	t.got.add(h)
	if n := len(t.spans); n > 0 && (offset-t.spans[n-1].last <= spanGap || n == mostSpans) {
		t.spans[n-1].last = offset
		return
	}
	t.spans = append(t.spans, span{offset, offset})
}

// tileOf gives the number of the tile that an ID falls into, which must be in one of them; hint is
// an earlier answer. tiles are those of one shard: adjacent and ascending.
func tileOf(tiles []tile, id EntryID, hint int) int {
	if hint < len(tiles) && tiles[hint].after.Less(id) && !tiles[hint].to.Less(id) {
		return hint
	}
	return sort.Search(len(tiles), func(i int) bool { return !tiles[i].to.Less(id) })
}
