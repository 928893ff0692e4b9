package consistency

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// cut ends the round of a shard where its delivery has ended: entries above every record of their shard, and above what the position
// says was delivered, have not been delivered yet, and are not lost. They are left to the next run.
func (e *engine) cut(ctx context.Context, s *shardRun) error {
	if !slices.ContainsFunc(s.tiles, func(t *tile) bool { return !t.agrees() }) {
		return nil
	}
	reached, err := e.reach(ctx, s)
	if err != nil || !reached.Less(s.upTo) {
		return err
	}
	var keep tiles
	for _, t := range s.tiles {
		switch {
		case !reached.Less(t.to):
			keep = append(keep, t)
		case t.after.Less(reached):
			t.cut, t.to = true, reached
			keep = append(keep, t)
		default:
			s.pending += t.entries
		}
	}
	s.tiles, s.upTo, s.anchor = keep, reached, ""
	return nil
}

// reach finds up to where a shard was delivered: what its position says, or the greatest entry that has a record. Partitions whose reading
// has stopped early may hold greater ones.
func (e *engine) reach(ctx context.Context, s *shardRun) (EntryID, error) {
	reached := maxID(maxID(s.reached, s.position), s.Point)
	for _, p := range e.partitions {
		if p.stop >= p.end || !reached.Less(s.upTo) {
			continue
		}
		err := e.logs.read(ctx, p.topic.name, p.number, p.stop, p.end, func(r *kgo.Record) error {
			ref, ours, err := e.reference(p, r)
			if !ours || err != nil || ref.shard != s.number {
				return nil
			}
			if reached = maxID(reached, ref.id); !reached.Less(s.upTo) {
				return errStop
			}
			return nil
		})
		if err != nil {
			return reached, fmt.Errorf("topic %s, partition %d: %w", p.topic.name, p.number, err)
		}
	}
	return reached, nil
}

// secondChance waits once more for entries that were not delivered within the settling time, as every suspicion is looked at twice, and
// opens their shards again. What comes is late.
func (e *engine) secondChance(ctx context.Context) error {
	if e.waited || !slices.ContainsFunc(e.shards, func(s *shardRun) bool { return s.pending > 0 }) {
		return nil
	}
	e.waited = true
	if err := e.wait(ctx, e.settle-e.now().Sub(e.looked)); err != nil {
		return err
	}
	if err := e.sample(ctx); err != nil {
		return err
	}
	for _, s := range e.shards {
		if s.pending > 0 {
			s.chance, s.chanceAt, s.inTime = true, s.Point, s.entries
			s.done, s.pending = false, 0
		}
	}
	return nil
}
