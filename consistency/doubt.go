package consistency

import (
	"context"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kgo"
)

// doubt is a tile that does not agree, with the IDs on which the first look has found something.
type doubt struct {
	s    *shardRun
	tile *tile
	ids  map[EntryID]bool
	lost map[EntryID]bool
}

// look is what an exact comparison of a tile has found.
type look struct {
	findings  []Finding
	strangers []found // records of no entry
	gone      int64   // entries that were there when the tile was counted
	removed   int64   // entries that are known from their records alone, and that Redis has removed
	dead      int64
	elsewhere bool // an entry's only record is in a partition that is not its own, where the round may not have come to it
}

// settleDoubts looks into what does not agree: twice, because what the first look sees may be on its way.
func (e *engine) settleDoubts(ctx context.Context) error {
	var doubts []*doubt
	suspicious, scan := false, false
	finals := map[*doubt]*look{}
	for _, s := range e.shards {
		for _, t := range s.tiles {
			if t.agrees() {
				continue
			}
			e.report.TilesLooked++
			first, err := e.look(ctx, s, t, nil)
			if err != nil {
				return err
			}
			d := &doubt{s: s, tile: t, ids: map[EntryID]bool{}, lost: map[EntryID]bool{}}
			for _, f := range first.findings {
				d.ids[f.Entry] = true
				if f.Kind == Lost {
					d.lost[f.Entry] = true
				}
				scan = scan || f.Kind == Lost || f.Kind == Misdirected
			}
			scan = scan || first.elsewhere
			for _, f := range first.strangers {
				d.ids[f.id] = true
			}
			suspicious = suspicious || len(d.ids) > 0
			doubts = append(doubts, d)
			finals[d] = first
		}
	}
	if suspicious {
		e.begins(LookingAgain)
		if err := e.wait(ctx, e.settle-e.now().Sub(e.looked)); err != nil {
			return err
		}
		extra := map[reference][]found{}
		if scan {
			var err error
			if extra, err = e.latecomers(ctx, doubts); err != nil {
				return err
			}
		}
		for _, d := range doubts {
			if len(d.ids) == 0 {
				continue
			}
			second, err := e.look(ctx, d.s, d.tile, extra)
			if err != nil {
				return err
			}
			finals[d] = second
			if err := e.confirm(ctx, d, second, extra); err != nil {
				return err
			}
		}
	}
	for _, d := range doubts {
		l := finals[d]
		e.report.DeadLetters += l.dead
		if n := max(l.gone, l.removed); l.gone > 0 {
			e.report.add(Finding{
				Kind: Unverifiable, Shard: d.s.number, Entry: d.tile.after, Last: d.tile.to, Count: n, Partition: -1, Offset: -1,
				Detail: fmt.Sprintf("the range does not agree, and %d of its entries were removed from Redis before it could be looked into", n),
			})
		}
	}
	if err := e.judgeOrder(ctx, finals); err != nil {
		return err
	}
	for _, s := range e.shards {
		if err := e.judgeStragglers(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// look compares a tile entry by entry. extra are records that came after the tile was counted.
func (e *engine) look(ctx context.Context, s *shardRun, t *tile, extra map[reference][]found) (*look, error) {
	route, err := newRoute(e.route)
	if err != nil {
		return nil, err
	}
	var (
		l       = &look{}
		h       = hasher{key: e.key}
		sh      = e.shape()
		im      = image{shard: s.number}
		en      entry
		known   = map[string]*knownTopic{}
		entries []wanted
		records []found
		sum     Digest
	)
	err = e.streams.read(ctx, s.number, t.after, t.to, func(raw rawEntry) error {
		en.decode(raw)
		w := wanted{id: raw.id, eventID: string(en.eventID)}
		var k *knownTopic
		if w.dead, k, err = e.want(ctx, &sh, route, known, &im, &en); err != nil {
			return err
		}
		if w.dead == "" {
			w.topic, w.partition, w.hash, w.traits = im.topic, im.partition, h.sum(&im), im.traits()
			if k.problem != "" {
				w.problem = fmt.Sprintf("topic %s: %s", k.name, k.problem)
			} else {
				sum.add(w.hash)
			}
		}
		entries = append(entries, w)
		records = append(records, extra[reference{s.number, raw.id}]...)
		if t.cut && raw.id == t.to {
			s.anchor = anchorOf(raw)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if t.cut {
		s.pending += t.entries - int64(len(entries))
		t.entries, t.want, t.cut, t.odd = int64(len(entries)), sum, false, true
	}
	l.gone = max(0, t.entries-int64(len(entries)))
	for i, spans := range t.spans {
		p := e.partitions[i]
		for _, sp := range spans {
			err := e.logs.read(ctx, p.topic.name, p.number, sp.first, sp.last+1, func(r *kgo.Record) error {
				ref, ours, err := e.reference(p, r)
				if !ours || err != nil || ref.shard != s.number || !t.after.Less(ref.id) || t.to.Less(ref.id) {
					return nil
				}
				if len(records) > e.mostSuspects+8*int(e.tileEntries) {
					return errTooMany
				}
				records = append(records, e.found(p, r, ref, &sh, &im))
				return nil
			})
			if err != nil {
				return nil, fmt.Errorf("topic %s, partition %d: %w", p.topic.name, p.number, err)
			}
		}
	}
	dead := map[EntryID]bool{}
	for i := range records {
		if records[i].dead {
			dead[records[i].id] = true
		}
	}
	l.dead = int64(len(dead))
	l.findings, l.strangers = compareExactly(s.number, entries, records)
	for _, f := range l.findings {
		if i, ok := slices.BinarySearchFunc(entries, f.Entry, func(w wanted, id EntryID) int { return w.id.compare(id) }); ok && f.Kind == Altered {
			l.elsewhere = l.elsewhere || entries[i].partition != f.Partition
		}
	}
	return l, nil
}

// latecomers searches everything behind the places where the round has stopped, up to what is committed now, for records of the
// entries in doubt.
func (e *engine) latecomers(ctx context.Context, doubts []*doubt) (map[reference][]found, error) {
	wanted := map[reference]bool{}
	for _, d := range doubts {
		for id := range d.ids {
			wanted[reference{d.s.number, id}] = true
		}
	}
	ends, err := e.logs.bounds(ctx, e.readable())
	if err != nil {
		return nil, err
	}
	late := map[reference][]found{}
	sh := e.shape()
	var im image
	e.heldBack = ""
	for _, p := range e.partitions {
		from := max(p.counted, p.stop)
		end := p.end
		if b := ends[p.topic.name]; int(p.number) < len(b) {
			end = b[p.number].end
		}
		if end < p.high {
			e.heldBack = fmt.Sprintf("topic %s, partition %d: a transaction is open since offset %d", p.topic.name, p.number, end)
		}
		if from >= end {
			continue
		}
		err := e.logs.read(ctx, p.topic.name, p.number, from, end, func(r *kgo.Record) error {
			ref, ours, err := e.reference(p, r)
			if !ours || err != nil || !wanted[ref] {
				return nil
			}
			if len(p.accepted) >= mostAccepted {
				return errTooMany
			}
			p.accepted[r.Offset] = true
			late[ref] = append(late[ref], e.found(p, r, ref, &sh, &im))
			if s := e.shards[ref.shard]; !p.topic.dead {
				s.orders = append(s.orders, orderSuspect{p.index(), r.Offset, ref.id, xxhash.Sum64(r.Key)})
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("topic %s, partition %d: %w", p.topic.name, p.number, err)
		}
	}
	return late, nil
}

// confirm reports what the second look still sees.
func (e *engine) confirm(ctx context.Context, d *doubt, second *look, extra map[reference][]found) error {
	s := d.s
	still := map[EntryID]bool{}
	unverifiable := map[string][]Finding{} // by reason
	defer func() {
		for why, findings := range unverifiable {
			e.report.add(summarise(findings, why)...)
		}
	}()
	for _, f := range second.findings {
		if !d.ids[f.Entry] {
			continue
		}
		if e.heldBack != "" && (f.Kind == Lost || f.Kind == Misdirected) {
			return fmt.Errorf("not delivered yet: shard %d: no record of entry %s is visible; %s", s.number, f.Entry, e.heldBack)
		}
		if f.Kind == Lost {
			// A relay that died may have sent what it had read after this one, to another partition.
			if s.position.Less(f.Entry) {
				pending, err := e.streams.pending(ctx, s.number, f.Entry)
				if err != nil {
					return err
				}
				if pending {
					return fmt.Errorf("not delivered yet: shard %d: entry %s has no record, and is pending in the consumer group: a relay has read it and not confirmed it", s.number, f.Entry)
				}
			}
			still[f.Entry] = true
			if why, err := e.excuse(ctx, s, f); err != nil {
				return err
			} else if why != "" {
				f.Kind, f.Detail = Unverifiable, why
			} else {
				s.lose(f.Entry)
				f.Detail += e.delivered(s)
			}
		}
		if f.Kind == Unverifiable {
			unverifiable[f.Detail] = append(unverifiable[f.Detail], f)
			continue
		}
		e.report.add(f)
	}
	for id := range d.lost {
		// A record that stood there at the first look, behind the place where the round had stopped, is not late.
		if r := extra[reference{s.number, id}]; !still[id] && len(r) > 0 && !slices.ContainsFunc(r, e.wasThere) {
			e.report.add(Finding{
				Kind: Late, Shard: s.number, Entry: id, Count: 1, Topic: r[0].topic, Partition: r[0].partition, Offset: r[0].offset,
				Detail: fmt.Sprintf("not there %s after it was the last entry of its shard, there at the second look", e.settle),
			})
		}
	}
	if len(second.strangers) == 0 {
		return nil
	}
	now, err := e.streams.state(ctx, s.number)
	if err != nil {
		return err
	}
	counted, removed := map[EntryID]bool{}, map[EntryID]bool{}
	for i := range second.strangers {
		f := &second.strangers[i]
		switch {
		case second.gone > 0 && now.removed(f.id):
			removed[f.id] = true
		case d.ids[f.id]:
			e.stranger(s, f, now, counted)
		}
	}
	// Which of these were removed before the tile was counted, and which since, cannot be told apart. The number can: second.gone were
	// removed since, and are counted as present.
	if second.gone > 0 {
		second.removed = int64(len(removed))
		s.Removed += second.removed - second.gone
	}
	return nil
}

// wasThere reports whether a record was committed when the run sampled the ends of the partitions.
func (e *engine) wasThere(f found) bool {
	k := e.topics[f.topic]
	return k != nil && f.offset < e.partitions[k.first+int(f.partition)].end
}

// delivered is the evidence that an entry without a record should have one.
func (e *engine) delivered(s *shardRun) string {
	if e.outside || s.position.IsZero() {
		return ""
	}
	return fmt.Sprintf("; the shard's position is %s", s.position)
}
