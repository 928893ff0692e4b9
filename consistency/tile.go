package consistency

import "sort"

// tile is a range of a shard's entries, (after, to], with what was counted of it on both sides.
//
// A tile agrees when both sides have the same number and the same digest: then, but for the chance that [Digest] states, each of its
// entries has one record, as it should be, where it should be. Everything else about it is looked at entry by entry.
type tile struct {
	after, to EntryID
	entries   int64
	records   int64
	want, got Digest
	// odd: entries or records in it cannot be judged by the digest alone.
	odd bool
	// cut: entries counts some behind the end of the range, until the tile is read again.
	cut bool
	// spans are the offsets of its records, by partition, in the order of the offsets.
	spans map[int][]span
}

// span is a range of offsets, both inclusive.
type span struct{ first, last int64 }

func (t *tile) agrees() bool { return !t.odd && !t.cut && t.entries == t.records && t.want == t.got }

// record counts a record at an offset of a partition.
func (t *tile) record(partition int, offset int64, h hash128) {
	t.records++
	t.got.add(h)
	if t.spans == nil {
		t.spans = map[int][]span{}
	}
	spans := t.spans[partition]
	if n := len(spans); n > 0 && (offset-spans[n-1].last <= spanGap || n == mostSpans) {
		spans[n-1].last = offset
		return
	}
	t.spans[partition] = append(spans, span{offset, offset})
}

// A record that stands far from the others of its tile, a late duplicate for instance, has a span of its own, so that what stands between
// need not be read again.
const (
	spanGap   = 2000
	mostSpans = 32
)

// tiles are the tiles of one shard in a round: adjacent, ascending, and together (after, to] of the round.
type tiles []*tile

// of gives the tile that an ID falls into, which must be in the round; hint is the place of an earlier answer.
func (t tiles) of(id EntryID, hint int) int {
	if hint < len(t) && t[hint].after.Less(id) && !t[hint].to.Less(id) {
		return hint
	}
	return sort.Search(len(t), func(i int) bool { return !t[i].to.Less(id) })
}
