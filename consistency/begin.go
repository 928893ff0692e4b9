package consistency

import (
	"context"
	"fmt"
	"slices"

	"github.com/sluice-outbox/sluice/outbox"
)

// begin samples every stream, which sets the watermarks, and finds where each shard goes on. With
// an error it returns the shards before the one that failed.
func (c *collector) begin(ctx context.Context,
	points []shardPoint,
) (shards []shardRun, notes []string, err error) {
	for number, point := range points {
		sample, err := c.streams.state(ctx, number)
		if err != nil {
			return shards, notes, err
		}
		back, err := whyBack(ctx, c.streams, number, point, sample)
		if err != nil {
			return shards, notes, err
		}
		s, note := beginShard(c.settings, shardRun{number: number, point: point.clone(), sample: sample},
			back)
		shards = append(shards, s)
		if note != "" {
			notes = append(notes, note)
		}
	}
	// A round goes through all shards even if none has new entries: records may have come that
	// should not have.
	if !slices.ContainsFunc(shards, func(s shardRun) bool { return !s.done }) {
		for i := range shards {
			shards[i].done = !shards[i].sample.exists
		}
	}
	return shards, notes, nil
}

// beginShard sets the watermark of a shard. back says how its stream shows that it went back.
func beginShard(set settings, s shardRun, back string) (next shardRun, note string) {
	if !s.sample.exists {
		s.done, s.begin, s.watermark = true, s.point.Point, s.point.Point
		return s, fmt.Sprintf("shard %d: its stream %s does not exist: it was removed or renamed",
			s.number, outbox.StreamKey(set.outbox, s.number))
	}
	s.watermark = s.sample.last
	if !set.to.IsZero() {
		s.watermark = minID(s.watermark, set.to)
	}
	if back != "" {
		note = fmt.Sprintf(
			"shard %d: %s: what was audited of it before is compared again from what Redis still holds",
			s.number, back)
	}
	if !s.point.Begun || back != "" {
		s.first, s.point = true, firstPoint(set, s)
	}
	s.begin = s.point.Point
	s.done = s.watermark == s.point.Point
	return s, note
}

// firstPoint is before the first entry that Redis still has.
func firstPoint(set settings, s shardRun) shardPoint {
	p := shardPoint{Begun: true, BaseAdded: -1, Lost: s.point.Lost, Since: s.sample.last}
	if !s.sample.first.IsZero() {
		p.Since = s.sample.first.Prev()
	}
	if !set.from.IsZero() {
		p.Since = minID(maxID(p.Since, set.from.Prev()), s.watermark)
	}
	p.Point = p.Since
	nothingGone := s.sample.added == s.sample.length
	p.FromStart = s.sample.counted && nothingGone && set.from.IsZero()
	// Everything that was ever added and is gone was before the first entry, unless somebody has
	// deleted entries after it.
	if s.sample.counted && (nothingGone || s.sample.maxDeleted.Less(s.sample.first)) &&
		set.from.IsZero() {
		p.Base, p.BaseAdded = p.Since, s.sample.added-s.sample.length
	}
	return p
}

// whyBack says how a stream shows that it is no longer the one that was audited; empty if it does
// not.
func whyBack(ctx context.Context, streams streams, shard int, point shardPoint,
	sample streamState,
) (string, error) {
	switch {
	case !point.Begun || !sample.exists:
		return "", nil
	case sample.last.Less(point.Point):
		return fmt.Sprintf("Redis went back: its last entry is %s, and %s was audited", sample.last,
			point.Point), nil
	case sample.counted && point.Base == point.Point && point.BaseAdded > sample.added:
		return fmt.Sprintf(
			"Redis went back: it has added %d entries, and had added %d when it was last audited",
			sample.added, point.BaseAdded), nil
	case point.Anchor == "" || sample.first.IsZero() || point.Point.Less(sample.first) ||
		!sample.maxDeleted.Less(point.Point):
		return "", nil // the entry may be gone in good order
	}
	anchor := ""
	err := streams.read(ctx, shard, point.Point.Prev(), point.Point, func(raw rawEntry) error {
		anchor = anchorOf(raw)
		return nil
	})
	if err != nil || anchor == point.Anchor {
		return "", err
	}
	return fmt.Sprintf("Redis went back: the entry %s, which was audited last, is gone or another one",
		point.Point), nil
}
