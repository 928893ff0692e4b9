package consistency

import (
	"context"
	"fmt"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kgo"
)

// readRecords counts the records of a partition into the tiles. Unless this is the last round it stops when everything that is
// expected was seen, or cannot come any more because a later entry's record stands there already.
func (e *engine) readRecords(ctx context.Context, p *partition, last bool) error {
	p.tallies = map[int]*tally{}
	p.stop = p.from
	waiting := len(p.expected)
	if !last && waiting == 0 && p.from >= p.counted || p.from >= p.end {
		return nil
	}
	h := hasher{key: e.key}
	sh := e.shape()
	var im image
	hints := make([]int, len(e.shards))
	err := e.logs.read(ctx, p.topic.name, p.number, p.from, p.end, func(r *kgo.Record) error {
		p.stop = r.Offset + 1
		ref, ours, err := e.reference(p, r)
		if !ours {
			return nil
		}
		if err != nil || ref.shard >= len(e.shards) {
			if r.Offset >= p.counted {
				e.nameless(p, r, ref, err)
			}
			return nil
		}
		s := e.shards[ref.shard]
		t := p.tallies[ref.shard]
		if t == nil {
			t = &tally{beyond: -1}
			p.tallies[ref.shard] = t
		}
		settled := t.passed || t.seen >= p.expected[ref.shard]
		if err := e.count(p, s, t, r, ref, &h, &sh, &im, &hints[ref.shard]); err != nil {
			return err
		}
		if n := p.expected[ref.shard]; n > 0 && !settled && (t.passed || t.seen >= n) {
			waiting--
		}
		// What stands before the mark was judged by points that have moved since: all of it has to be seen again.
		if waiting == 0 && !last && p.stop >= p.counted {
			return errStop
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("topic %s, partition %d: %w", p.topic.name, p.number, err)
	}
	if waiting > 0 || last || p.stop < p.counted {
		p.stop = p.end
	}
	for shard, t := range p.tallies {
		s := e.shards[shard]
		s.mu.Lock()
		s.reached = maxID(s.reached, t.max)
		s.mu.Unlock()
	}
	return nil
}

func (e *engine) reference(p *partition, r *kgo.Record) (reference, bool, error) {
	if p.topic.dead {
		return deadEntryOf(r, e.outbox+"/")
	}
	return entryOf(r, e.outbox+"/")
}

// count puts one record where it belongs.
func (e *engine) count(p *partition, s *shardRun, t *tally, r *kgo.Record, ref reference, h *hasher, sh *shape, im *image, hint *int) error {
	if !s.Point.Less(ref.id) {
		if r.Offset >= p.counted && !p.accepted[r.Offset] && s.Since.Less(ref.id) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.stragglers) >= e.mostSuspects {
				return errTooMany
			}
			s.stragglers = append(s.stragglers, e.found(p, r, ref, sh, im))
		}
		return nil
	}
	// A record below the point that the shard had when the partition was read last stands in order behind what was counted.
	if t.min.IsZero() || ref.id.Less(t.min) {
		t.min = ref.id
	}
	before := t.max
	t.max = maxID(t.max, ref.id)
	if s.upTo.Less(ref.id) {
		t.passed = true
		if t.beyond < 0 {
			t.beyond = r.Offset
		}
		return nil
	}
	t.seen++
	repaired := sh.observe(im, r, ref.shard, ref.id)
	sum := h.sum(im)
	s.mu.Lock()
	defer s.mu.Unlock()
	if repaired {
		s.repaired++
	}
	*hint = s.tiles.of(ref.id, *hint)
	tile := s.tiles[*hint]
	tile.record(p.index(), r.Offset, sum)
	if p.topic.dead {
		tile.odd = true
	} else if ref.id.Less(before) {
		if len(s.orders) >= e.mostSuspects {
			return errTooMany
		}
		s.orders = append(s.orders, orderSuspect{p.index(), r.Offset, ref.id, xxhash.Sum64(r.Key)})
	}
	return nil
}

func (p *partition) index() int { return p.topic.first + int(p.number) }

// found is a record with the evidence that a finding needs.
func (e *engine) found(p *partition, r *kgo.Record, ref reference, sh *shape, im *image) found {
	f := found{id: ref.id, topic: p.topic.name, partition: p.number, offset: r.Offset, dead: p.topic.dead, producer: r.ProducerID, epoch: r.ProducerEpoch}
	if !f.dead {
		f.repaired = sh.observe(im, r, ref.shard, ref.id)
		h := hasher{key: e.key}
		f.hash, f.traits = h.sum(im), im.traits()
	}
	return f
}

// nameless reports a record that is of this outbox and names no entry that could exist.
func (e *engine) nameless(p *partition, r *kgo.Record, ref reference, err error) {
	detail := fmt.Sprintf("the outbox has %d shards, the record names shard %d", len(e.shards), ref.shard)
	if err != nil {
		detail = err.Error()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.report.add(Finding{Kind: Orphaned, Shard: ref.shard, Entry: ref.id, Count: 1, Topic: p.topic.name, Partition: p.number, Offset: r.Offset, Detail: detail})
}
