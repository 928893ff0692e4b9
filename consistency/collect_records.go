package consistency

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kgo"
)

// recordsRead is what was read of a partition.
type recordsRead struct {
	partitionRead
	byShard  map[int]*shardRecords
	nameless []Finding
}

// shardRecords are the records of a shard in a partition.
type shardRecords struct {
	seen
	tiles      []tileRecords // by the number of the shard's tile
	hint       int           // the tile of the record before
	repaired   int64
	late       []found // of entries that were compared before
	disordered []disordered
}

// disordered is a record that is after one of a later entry of its shard, whose keys may differ.
type disordered struct {
	partition int // its index
	offset    int64
	id        EntryID
	key       uint64
}

var errTooMany = errors.New(
	"too many records are out of order or appear twice to be listed; see the tiles, and narrow the " +
		"range")

// recordLimits bound what the readers of a round's partitions hold together.
type recordLimits struct {
	late, disordered []atomic.Int64 // by shard
	nameless         atomic.Int64
}

// collectRecords reads the records of every partition up to where all entries of the round should
// have been seen: the second of the two sides.
func (c *collector) collectRecords(ctx context.Context, before runState,
	entries []entriesRead,
) ([]recordsRead, error) {
	topics := c.topics.snapshot()
	last := true // nothing remains above this round: records are read to their end
	for i, s := range before.shards {
		last = last && (s.done || entries[i].upTo == s.watermark)
	}
	limits := &recordLimits{
		late:       make([]atomic.Int64, len(entries)),
		disordered: make([]atomic.Int64, len(entries)),
	}
	all := make([]recordsRead, len(topics.partitions))
	return all, c.each(ctx, len(all), func(ctx context.Context, i int) (err error) {
		p := topics.partitions[i]
		r := recordReader{
			collector: c, partition: p, shards: before.shards, entries: entries,
			last: last, limits: limits, observer: c.observer(),
		}
		all[i], err = r.readRecords(ctx, before.partition(p))
		return p.failed(err)
	})
}

// partition is how far a partition has been read.
func (s runState) partition(p *partition) partitionState {
	if p.index < len(s.partitions) {
		return s.partitions[p.index]
	}
	return p.initial
}

// recordReader counts the records of one partition. It belongs to one goroutine.
type recordReader struct {
	*collector
	partition *partition
	shards    []shardRun
	entries   []entriesRead
	last      bool
	limits    *recordLimits
	observer  *observer

	out     recordsRead
	waiting int // shards that are not settled
}

// readRecords stops early, unless this is the last round, when every shard is settled.
func (r *recordReader) readRecords(ctx context.Context, at partitionState) (recordsRead, error) {
	r.out.partitionState, r.out.stop, r.out.byShard = at, at.from, map[int]*shardRecords{}
	for i := range r.entries {
		if r.entries[i].expected[r.partition.index] > 0 {
			r.waiting++
		}
	}
	if !r.last && r.waiting == 0 && at.from >= at.counted || at.from >= at.end {
		return r.out, nil
	}
	if err := r.logs.read(ctx, r.partition.topic.name, r.partition.number, at.from, at.end,
		r.record); err != nil {
		return r.out, err
	}
	if r.waiting > 0 || r.last || r.out.stop < at.counted {
		r.out.stop = at.end
	}
	return r.out, nil
}

func (r *recordReader) record(rec *kgo.Record) error {
	r.out.stop = rec.Offset + 1
	ref, ours, err := r.reference(r.partition, rec)
	if !ours {
		return nil
	}
	if err != nil || ref.shard >= len(r.shards) {
		if rec.Offset >= r.out.counted {
			r.nameless(rec, ref, err)
		}
		return nil
	}
	s := r.shard(ref.shard)
	settled := s.settled()
	if err := r.count(s, rec, ref); err != nil {
		return err
	}
	if !settled && s.settled() {
		r.waiting--
	}
	// What is before counted was judged by points that have moved since: all of it has to be seen.
	if r.waiting == 0 && !r.last && r.out.stop >= r.out.counted {
		return errStop
	}
	return nil
}

func (r *recordReader) shard(number int) *shardRecords {
	s := r.out.byShard[number]
	if s == nil {
		s = &shardRecords{seen: seen{beyond: -1, expected: r.entries[number].expected[r.partition.index]}}
		r.out.byShard[number] = s
	}
	return s
}

// count puts a record where it belongs.
func (r *recordReader) count(s *shardRecords, rec *kgo.Record, ref reference) error {
	shard := &r.shards[ref.shard]
	if !shard.point.Point.Less(ref.id) {
		return r.audited(s, rec, ref)
	}
	// A record below the point that the shard had when the partition was read last is in order
	// after what was counted.
	if s.min.IsZero() || ref.id.Less(s.min) {
		s.min = ref.id
	}
	greatest := s.max
	s.max = maxID(s.max, ref.id)
	entries := &r.entries[ref.shard]
	if entries.upTo.Less(ref.id) {
		s.passed = true
		if s.beyond < 0 {
			s.beyond = rec.Offset
		}
		return nil
	}
	s.records++
	sum, repaired := r.observer.observe(rec, ref)
	if repaired {
		s.repaired++
	}
	if s.tiles == nil {
		s.tiles = make([]tileRecords, len(entries.tiles))
	}
	s.hint = tileOf(entries.tiles, ref.id, s.hint)
	tile := &s.tiles[s.hint]
	tile.add(rec.Offset, sum)
	if r.partition.topic.dead {
		tile.odd = true
		return nil
	}
	if !ref.id.Less(greatest) {
		return nil
	}
	if r.limits.disordered[ref.shard].Add(1) > int64(r.mostSuspects) {
		return errTooMany
	}
	s.disordered = append(s.disordered,
		disordered{r.partition.index, rec.Offset, ref.id, xxhash.Sum64(rec.Key)})
	return nil
}

// audited is given a record of an entry whose range was compared before.
func (r *recordReader) audited(s *shardRecords, rec *kgo.Record, ref reference) error {
	if rec.Offset < r.out.counted || r.out.accepted[rec.Offset] ||
		!r.shards[ref.shard].point.Since.Less(ref.id) {
		return nil
	}
	if r.limits.late[ref.shard].Add(1) > int64(r.mostSuspects) {
		return errTooMany
	}
	s.late = append(s.late, r.observer.found(r.partition, rec, ref))
	return nil
}

// nameless notes a record that is of this outbox and names no entry that could exist. When there
// are too many to be listed the last one counts for those after it.
func (r *recordReader) nameless(rec *kgo.Record, ref reference, err error) {
	detail := fmt.Sprintf("the outbox has %d shards, the record names shard %d", len(r.shards),
		ref.shard)
	if err != nil {
		detail = err.Error()
	}
	if n := len(r.out.nameless); r.limits.nameless.Add(1) > mostFindings+1 && n > 0 {
		r.out.nameless[n-1].Count++
		return
	}
	r.out.nameless = append(r.out.nameless, Finding{
		Kind: Orphaned, Shard: ref.shard, Entry: ref.id, Count: 1, Detail: detail,
		Topic: r.partition.topic.name, Partition: r.partition.number, Offset: rec.Offset,
	})
}
