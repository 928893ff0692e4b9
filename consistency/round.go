package consistency

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"github.com/sluice-outbox/sluice/outbox"
)

// round compares the next entries of every shard and moves the points behind them. It returns the tiles that were compared.
func (e *engine) round(ctx context.Context) (compared []Tile, err error) {
	err = e.each(ctx, len(e.shards), func(ctx context.Context, i int) error { return e.readEntries(ctx, e.shards[i]) })
	if err != nil {
		return nil, err
	}
	last := true // nothing remains above this round: records are read to their end
	for _, s := range e.shards {
		last = last && (s.done || s.upTo == s.watermark)
	}
	err = e.each(ctx, len(e.partitions), func(ctx context.Context, i int) error { return e.readRecords(ctx, e.partitions[i], last) })
	if err != nil {
		return nil, err
	}
	for _, s := range e.shards {
		if err := e.cut(ctx, s); err != nil {
			return nil, err
		}
	}
	if err := e.settleDoubts(ctx); err != nil {
		return nil, err
	}
	for _, s := range e.shards {
		for _, t := range s.tiles {
			d := e.describe(s.number, t)
			d.slot = s.Tiles % keptTiles
			s.Tiles++
			compared = append(compared, d)
			s.entries += t.entries
			s.records += t.records
			s.Present += t.entries
			e.report.Tiles++
		}
		e.report.Repaired += s.repaired
		s.greatest = maxID(s.greatest, s.reached)
		if s.Point != s.upTo {
			s.Point, s.Anchor = s.upTo, s.anchor
		} else if !s.done && s.Point != s.watermark && s.pending == 0 {
			e.report.incomplete("shard %d: nothing behind %s could be compared", s.number, s.Point)
			s.done = true
		}
		s.done = s.done || s.Point == s.watermark || s.pending > 0
		s.tiles, s.stragglers, s.orders, s.anchor, s.reached, s.repaired = nil, nil, nil, "", EntryID{}, 0
	}
	for _, p := range e.partitions {
		e.advance(p)
	}
	return compared, nil
}

// advance moves a partition's mark to where the next round has to begin: at the first record that it saw of a later round.
func (e *engine) advance(p *partition) {
	p.counted = max(p.counted, p.stop)
	p.from = max(p.from, p.stop)
	for shard, t := range p.tallies {
		if t.beyond >= 0 {
			p.from = min(p.from, t.beyond)
		}
		if t.seen > 0 {
			delete(p.hole, shard) // what is gone of this partition is before everything that follows of the shard
		}
	}
	p.expected, p.tallies = nil, nil
}

// readEntries makes the tiles of a shard's next entries.
func (e *engine) readEntries(ctx context.Context, s *shardRun) error {
	s.upTo = s.Point
	if s.done || s.Point == s.watermark {
		s.done = true
		return nil
	}
	route, err := newRoute(e.route)
	if err != nil {
		return err
	}
	var (
		h       = hasher{key: e.key}
		sh      = e.shape()
		im      = image{shard: s.number}
		en      entry
		known   = map[string]*knownTopic{}
		counts  = map[int]int64{}
		current = &tile{after: s.Point}
		read    int64
	)
	err = e.streams.read(ctx, s.number, s.Point, s.watermark, func(raw rawEntry) error {
		en.decode(raw)
		w, k, err := e.want(ctx, &sh, route, known, &im, &en)
		if err != nil {
			return err
		}
		current.entries++
		if w != "" || k.problem != "" {
			current.odd = true
		} else {
			current.want.add(h.sum(&im))
			counts[k.first+int(im.partition)]++
		}
		read++
		s.upTo = raw.id
		if current.entries == e.tileEntries || read == e.roundEntries {
			current.to = raw.id
			s.tiles = append(s.tiles, current)
			current = &tile{after: raw.id}
		}
		if read == e.roundEntries {
			s.anchor = anchorOf(raw)
			return errStop
		}
		if raw.id == s.watermark {
			s.anchor = anchorOf(raw)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if read < e.roundEntries {
		// Entries behind the last one that was read may be gone, and their records are not.
		s.upTo = s.watermark
		current.to = s.upTo
		if current.after.Less(current.to) {
			s.tiles = append(s.tiles, current)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, n := range counts {
		p := e.partitions[i]
		if p.expected == nil {
			p.expected = map[int]int64{}
		}
		p.expected[s.number] = n
	}
	return nil
}

func (e *engine) shape() shape {
	return shape{format: e.format, source: []byte(e.source), tombstones: e.tombstones}
}

// anchorOf names the content of an entry.
func anchorOf(raw rawEntry) string {
	s := sha256.Sum256(raw.raw)
	return hex.EncodeToString(s[:16])
}

// want fills im with what should be in Kafka of an entry. dead says why it belongs to the dead letters instead.
func (e *engine) want(ctx context.Context, sh *shape, r *route, known map[string]*knownTopic, im *image, en *entry) (dead string, k *knownTopic, err error) {
	if en.bad != "" {
		return "the entry is not an event: " + en.bad, nil, nil
	}
	name, ok := r.topic(en)
	if !ok {
		return "the entry has no valid topic", nil, nil
	}
	if k = known[name]; k == nil {
		if k, err = e.topic(ctx, name); err != nil {
			return "", nil, err
		}
		if len(known) >= routeMemory {
			clear(known)
		}
		known[name] = k
	}
	sh.expect(im, en)
	im.topic, im.partition = name, 0
	if k.problem == "" {
		im.partition = int32(outbox.Partition(im.key, k.partitions))
	}
	return "", k, nil
}

func (e *engine) topic(ctx context.Context, name string) (*knownTopic, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if k := e.topics[name]; k != nil {
		return k, nil
	}
	if err := e.addTopics(ctx, []string{name}, nil); err != nil {
		return nil, err
	}
	return e.topics[name], nil
}
