package consistency

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// mismatch is a tile that does not agree, with what the last look at it has shown.
type mismatch struct {
	shard, tile int
	look        look
	// suspects are the entries on which the first look has found something; there is a second look
	// if there are any. unseen are those of them that had no record.
	suspects, unseen map[EntryID]bool
	// search: a record may be where the round has not come to.
	search bool

	// Asked for after the second look:
	unconfirmed map[EntryID]bool // entries that a relay has read and not confirmed
	now         streamState      // if there are orphans
}

func (m mismatch) suspicious() bool { return len(m.suspects) > 0 }
func (m mismatch) searched() bool   { return m.search }

// look is what a comparison entry by entry has shown of a tile.
type look struct {
	comparison
	entries int64
	want    Digest // of those that a digest can tell
	anchor  string // of a shortened tile
	gone    int64  // entries that were there when the tile was counted
	dead    int64  // dead letters
}

func (c *collector) firstLooks(ctx context.Context, before runState,
	sides *collected,
) ([]mismatch, error) {
	var all []mismatch
	for shard := range sides.shards {
		for number, t := range sides.shards[shard].tiles {
			if t.agrees() {
				continue
			}
			l, err := c.look(ctx, before.shards[shard], t, nil)
			if err != nil {
				return nil, err
			}
			all = append(all, newMismatch(shard, number, l))
		}
	}
	return all, nil
}

func newMismatch(shard, tile int, first look) mismatch {
	m := mismatch{
		shard: shard, tile: tile, look: first, search: first.elsewhere,
		suspects: map[EntryID]bool{}, unseen: map[EntryID]bool{},
	}
	for _, f := range first.findings {
		m.suspects[f.Entry] = true
		if f.Kind == Lost {
			m.unseen[f.Entry] = true
		}
		m.search = m.search || f.Kind == Lost || f.Kind == Misdirected
	}
	for _, f := range first.orphans {
		m.suspects[f.id] = true
	}
	return m
}

func (c *collector) secondLooks(ctx context.Context, before runState,
	sides *collected,
) ([]mismatch, error) {
	all := slices.Clone(sides.mismatches)
	for i := range all {
		m := &all[i]
		if !m.suspicious() {
			continue
		}
		var err error
		shard, t := before.shards[m.shard], sides.shards[m.shard].tiles[m.tile]
		if m.look, err = c.look(ctx, shard, t, sides.late.records); err != nil {
			return nil, err
		}
		if m.unconfirmed, err = c.askConfirmed(ctx, shard, sides, m); err != nil {
			return nil, err
		}
		if len(m.look.orphans) == 0 {
			continue
		}
		if m.now, err = c.streams.state(ctx, m.shard); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// lostSuspects are the findings about entries that have no record even at the second look.
func (m *mismatch) lostSuspects() (lost []Finding) {
	for _, f := range m.look.findings {
		if f.Kind == Lost && m.suspects[f.Entry] {
			lost = append(lost, f)
		}
	}
	return lost
}

// askConfirmed asks which entries without a record a relay has read and not confirmed. One that
// died may have sent what it had read after such an entry, to another partition.
func (c *collector) askConfirmed(ctx context.Context, shard shardRun, sides *collected,
	m *mismatch,
) (map[EntryID]bool, error) {
	unconfirmed := map[EntryID]bool{}
	if sides.late.heldBack != "" {
		return unconfirmed, nil // the round is not decided in any case
	}
	for _, f := range m.lostSuspects() {
		if !shard.position.Less(f.Entry) {
			continue
		}
		var err error
		if unconfirmed[f.Entry], err = c.streams.pending(ctx, m.shard, f.Entry); err != nil {
			return nil, err
		}
	}
	return unconfirmed, nil
}

// collectCompaction asks of the topics that lack records whether they lose them by themselves. The
// answers are by topic, empty for one that does not.
func (c *collector) collectCompaction(ctx context.Context,
	sides *collected,
) (map[string]string, error) {
	topics, answers := c.topics.snapshot(), map[string]string{}
	for i := range sides.mismatches {
		for _, f := range sides.mismatches[i].lostSuspects() {
			if _, asked := answers[f.Topic]; asked || topics.place(f.Topic, f.Partition) == nil {
				continue
			}
			var err error
			if answers[f.Topic], err = c.logs.losesRecords(ctx, f.Topic); err != nil {
				return nil, err
			}
		}
	}
	return answers, nil
}

// look compares a tile entry by entry. late are records that came after the tile was counted.
func (c *collector) look(ctx context.Context, shard shardRun, t tile,
	late map[reference][]found,
) (look, error) {
	x, err := c.expecter(shard.number)
	if err != nil {
		return look{}, err
	}
	var (
		l       look
		entries []wanted
		records []found
	)
	err = c.streams.read(ctx, shard.number, t.after, t.to, func(raw rawEntry) error {
		e, err := x.expect(ctx, raw)
		if err != nil {
			return err
		}
		w := x.wanted(e)
		if e.comparable() {
			l.want.add(w.hash)
		}
		entries = append(entries, w)
		records = append(records, late[reference{shard.number, raw.id}]...)
		if t.shortened && raw.id == t.to {
			l.anchor = anchorOf(raw)
		}
		return nil
	})
	if err != nil {
		return look{}, err
	}
	if records, err = c.recordsOf(ctx, shard.number, t, records); err != nil {
		return look{}, err
	}
	l.entries = int64(len(entries))
	if !t.shortened {
		l.gone = max(0, t.entries-l.entries)
	}
	dead := map[EntryID]bool{}
	for i := range records {
		if records[i].dead {
			dead[records[i].id] = true
		}
	}
	l.dead = int64(len(dead))
	l.comparison = compareEntries(shard.number, entries, records)
	return l, nil
}

// recordsOf appends the records of a tile to those that are known.
func (c *collector) recordsOf(ctx context.Context, shard int, t tile,
	records []found,
) ([]found, error) {
	partitions, o := c.topics.snapshot().partitions, c.observer()
	for _, in := range t.spans {
		p := partitions[in.partition]
		for _, sp := range in.spans {
			err := c.readPartition(ctx, p, sp.first, sp.last+1, func(r *kgo.Record, ref reference) error {
				if ref.shard != shard || !t.after.Less(ref.id) || t.to.Less(ref.id) {
					return nil
				}
				if len(records) > c.mostSuspects+8*int(c.tileEntries) {
					return errTooMany
				}
				records = append(records, o.found(p, r, ref))
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return records, nil
}
