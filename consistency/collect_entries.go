package consistency

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
)

// entriesRead are the next entries of a shard, up to upTo, in tiles that have what should be in
// Kafka of them.
type entriesRead struct {
	tiles    []tile
	expected map[int]int64 // how many records there should be, by the index of their partition
	upTo     EntryID
	anchor   string // of the entry at upTo; empty if there is none
	entries  int64
}

// collectEntries reads the next entries of every shard: the first of the two sides.
func (c *collector) collectEntries(ctx context.Context, before runState) ([]entriesRead, error) {
	all := make([]entriesRead, len(before.shards))
	return all, c.each(ctx, len(all), func(ctx context.Context, i int) (err error) {
		all[i], err = c.readEntries(ctx, before.shards[i])
		return err
	})
}

func (c *collector) readEntries(ctx context.Context, s shardRun) (entriesRead, error) {
	out := entriesRead{upTo: s.point.Point, expected: map[int]int64{}}
	if s.done || s.point.Point == s.watermark {
		return out, nil
	}
	x, err := c.expecter(s.number)
	if err != nil {
		return out, err
	}
	current := tile{after: s.point.Point}
	err = c.streams.read(ctx, s.number, s.point.Point, s.watermark, func(raw rawEntry) error {
		e, err := x.expect(ctx, raw)
		if err != nil {
			return err
		}
		out.entries++
		out.upTo = raw.id
		out.count(&current, x, e)
		full := out.entries == c.roundEntries
		if current.entries == c.tileEntries || full {
			current.to = raw.id
			out.tiles = append(out.tiles, current)
			current = tile{after: raw.id}
		}
		if full || raw.id == s.watermark {
			out.anchor = anchorOf(raw)
		}
		if full {
			return errStop
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	if out.entries < c.roundEntries {
		// Entries after the last one that was read may be gone, and their records are not.
		out.upTo, current.to = s.watermark, s.watermark
		if current.after.Less(current.to) {
			out.tiles = append(out.tiles, current)
		}
	}
	return out, nil
}

// count puts an entry into its tile.
func (r *entriesRead) count(t *tile, x *expecter, e expected) {
	t.entries++
	if !e.comparable() {
		t.odd = true
		return
	}
	t.want.add(x.hash())
	r.expected[e.topic.first+int(x.image.partition)]++
}

// anchorOf names the content of an entry.
func anchorOf(raw rawEntry) string {
	s := sha256.Sum256(raw.raw)
	return hex.EncodeToString(s[:16])
}
