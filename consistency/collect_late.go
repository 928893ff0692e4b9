package consistency

import (
	"context"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Late records are those that come when the range of their entry has been counted. A round finds
// them at two places: between its two looks, after where it has stopped, and among the records of
// entries that earlier rounds and runs have compared.

// lateSearch is what was found after the places where the round had stopped.
type lateSearch struct {
	records    map[reference][]found
	accepted   map[int][]int64      // their offsets, by the index of the partition
	disordered map[int][]disordered // any of them may be, by shard
	// heldBack says why records that were there when the ends were sampled cannot be seen yet.
	heldBack string
}

// searchLate searches everything after the places where the round has stopped, up to what is
// committed now, for records of the suspects.
func (c *collector) searchLate(ctx context.Context, sides *collected) (lateSearch, error) {
	topics := c.topics.snapshot()
	late := lateSearch{
		records: map[reference][]found{}, accepted: map[int][]int64{},
		disordered: map[int][]disordered{},
	}
	ends, err := c.logs.bounds(ctx, topics.readable())
	if err != nil {
		return late, err
	}
	wanted := map[reference]bool{}
	for _, m := range sides.mismatches {
		for id := range m.suspects {
			wanted[reference{m.shard, id}] = true
		}
	}
	for _, p := range topics.partitions {
		read := sides.partition(p)
		end := read.end
		if b := ends[p.topic.name]; int(p.number) < len(b) {
			end = b[p.number].end
		}
		if end < read.high {
			late.heldBack = openTransaction(p, end)
		}
		from := max(read.counted, read.stop)
		if from >= end {
			continue
		}
		o := c.observer()
		err := c.readPartition(ctx, p, from, end, func(r *kgo.Record, ref reference) error {
			if !wanted[ref] {
				return nil
			}
			if len(read.accepted)+len(late.accepted[p.index]) >= mostAccepted {
				return errTooMany
			}
			late.add(p, r, ref, o.found(p, r, ref))
			return nil
		})
		if err != nil {
			return late, err
		}
	}
	return late, nil
}

func (l *lateSearch) add(p *partition, r *kgo.Record, ref reference, f found) {
	l.accepted[p.index] = append(l.accepted[p.index], r.Offset)
	l.records[ref] = append(l.records[ref], f)
	if !p.topic.dead {
		l.disordered[ref.shard] = append(l.disordered[ref.shard],
			disordered{p.index, r.Offset, ref.id, xxhash.Sum64(r.Key)})
	}
}

// auditedRead are the late records of a shard whose entries were compared before.
type auditedRead struct {
	records []lateRecord
	now     streamState // asked for before their entries were read
}

// lateRecord is a record with what Redis has of its entry.
type lateRecord struct {
	found
	here    bool // the entry is in Redis
	eventID string
	altered string // what of the record is not what the entry says
}

// collectAudited reads the entries of late records.
func (c *collector) collectAudited(ctx context.Context, sides *collected) ([]auditedRead, error) {
	all := make([]auditedRead, len(sides.shards))
	for shard := range sides.shards {
		late := sides.shards[shard].late
		if len(late) == 0 {
			continue
		}
		now, err := c.streams.state(ctx, shard)
		if err != nil {
			return nil, err
		}
		x, err := c.expecter(shard)
		if err != nil {
			return nil, err
		}
		all[shard].now = now
		for i := range late {
			r, err := c.lateRecord(ctx, shard, x, late[i])
			if err != nil {
				return nil, err
			}
			all[shard].records = append(all[shard].records, r)
		}
	}
	return all, nil
}

func (c *collector) lateRecord(ctx context.Context, shard int, x *expecter,
	f found,
) (lateRecord, error) {
	r := lateRecord{found: f}
	err := c.streams.read(ctx, shard, f.id.Prev(), f.id, func(raw rawEntry) error {
		e, err := x.expect(ctx, raw)
		if err != nil {
			return err
		}
		w := x.wanted(e)
		r.here, r.eventID, r.altered = true, w.eventID, alteration(&w, &f)
		return nil
	})
	return r, err
}
