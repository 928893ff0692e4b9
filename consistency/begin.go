package consistency

import (
	"context"
	"fmt"
	"slices"

	"github.com/sluice-outbox/sluice/outbox"
)

// begin samples every stream, which sets the watermarks, and finds where each shard goes on.
func (e *engine) begin(ctx context.Context, n int) error {
	for shard := range n {
		s := &shardRun{number: shard, shardPoint: &e.state.Shards[shard]}
		var err error
		if s.sample, err = e.streams.state(ctx, shard); err != nil {
			return err
		}
		if !s.sample.exists {
			e.report.incomplete("shard %d: its stream %s does not exist: it was removed or renamed", shard, outbox.StreamKey(e.outbox, shard))
			s.done = true
			s.begin, s.watermark = s.Point, s.Point
			e.shards = append(e.shards, s)
			continue
		}
		s.watermark = s.sample.last
		if !e.to.IsZero() {
			s.watermark = minID(s.watermark, e.to)
		}
		back, err := e.wentBack(ctx, s)
		if err != nil {
			return err
		}
		if back != "" {
			e.report.incomplete("shard %d: %s: what was audited of it before is compared again from what Redis still holds", shard, back)
		}
		if !s.Begun || back != "" {
			e.startOver(s)
		}
		s.begin = s.Point
		s.done = s.watermark == s.Point
		e.shards = append(e.shards, s)
	}
	// A round goes through all shards even if none has new entries: records may have come that should not have.
	if len(e.shards) > 0 && !slices.ContainsFunc(e.shards, func(s *shardRun) bool { return !s.done }) {
		for _, s := range e.shards {
			s.done = !s.sample.exists
		}
	}
	return nil
}

// startOver begins a shard at the first entry that Redis still has.
func (e *engine) startOver(s *shardRun) {
	lost := s.Lost
	*s.shardPoint = shardPoint{Begun: true, BaseAdded: -1, Lost: lost}
	s.first = true
	switch {
	case !s.sample.first.IsZero():
		s.Since = s.sample.first.before()
	default:
		s.Since = s.sample.last
	}
	if !e.from.IsZero() {
		s.Since = minID(maxID(s.Since, e.from.before()), s.watermark)
	}
	s.Point = s.Since
	s.FromStart = s.sample.counted && s.sample.added == s.sample.length && e.from.IsZero()
	// Everything that was ever added and is gone stood before the first entry, unless somebody has deleted entries behind it.
	if s.sample.counted && (s.sample.added == s.sample.length || s.sample.maxDeleted.Less(s.sample.first)) && e.from.IsZero() {
		s.Base, s.BaseAdded = s.Since, s.sample.added-s.sample.length
	}
}

// wentBack says how a stream shows that it is no longer the one that was audited; empty if it does not.
func (e *engine) wentBack(ctx context.Context, s *shardRun) (string, error) {
	switch {
	case !s.Begun:
		return "", nil
	case s.sample.last.Less(s.Point):
		return fmt.Sprintf("Redis went back: its last entry is %s, and %s was audited", s.sample.last, s.Point), nil
	case s.sample.counted && s.Base == s.Point && s.BaseAdded > s.sample.added:
		return fmt.Sprintf("Redis went back: it has added %d entries, and had added %d when it was last audited", s.sample.added, s.BaseAdded), nil
	case s.Anchor == "" || s.sample.first.IsZero() || s.Point.Less(s.sample.first) || !s.sample.maxDeleted.Less(s.Point):
		return "", nil // the entry may be gone in good order
	}
	anchor := ""
	err := e.streams.read(ctx, s.number, s.Point.before(), s.Point, func(raw rawEntry) error {
		anchor = anchorOf(raw)
		return nil
	})
	if err != nil || anchor == s.Anchor {
		return "", err
	}
	return fmt.Sprintf("Redis went back: the entry %s, which was audited last, is gone or another one", s.Point), nil
}
