package consistency

import (
	"context"
	"slices"
)

// open finds the topics and samples the ends of their partitions. It comes after the settling time,
// and the positions before the ends: what a position says was delivered is before the end that is
// sampled afterwards, or will be at the second look.
func (c *collector) open(ctx context.Context, before runState) (runState, error) {
	next, err := c.askPositions(ctx, before)
	if err != nil {
		return before, err
	}
	names := []string{c.deadLetter}
	for _, m := range c.topics.earlier {
		if !slices.Contains(names, m.Name) {
			names = append(names, m.Name)
		}
	}
	next.sampled = c.now()
	return next, c.topics.add(ctx, names, c.watch)
}

func (c *collector) askPositions(ctx context.Context, before runState) (runState, error) {
	next := before.clone()
	for i := range next.shards {
		s := &next.shards[i]
		if c.outside {
			s.position = lastID
			continue
		}
		var err error
		if s.position, err = c.logs.position(ctx, s.number); err != nil {
			return before, err
		}
	}
	return next, nil
}

// undelivered reports whether entries are waited for.
func (s runState) undelivered() bool {
	return slices.ContainsFunc(s.shards, func(s shardRun) bool { return s.pending > 0 })
}

// waitAgain waits once more for entries that were not delivered within the settling time, as there
// are two looks at every mismatch, samples the ends again, and opens the shards that had some. What
// comes is late.
func (c *collector) waitAgain(ctx context.Context, before runState) (runState, error) {
	if err := c.wait(ctx, c.settle-c.now().Sub(before.sampled)); err != nil {
		return before, err
	}
	next, err := c.askPositions(ctx, before)
	if err != nil {
		return before, err
	}
	next.sampled = c.now()
	topics := c.topics.snapshot()
	ends, err := c.logs.bounds(ctx, topics.readable())
	if err != nil {
		return before, err
	}
	for i, p := range topics.partitions[:len(next.partitions)] {
		if b := ends[p.topic.name]; int(p.number) < len(b) {
			s := &next.partitions[i]
			s.end, s.high = max(s.end, b[p.number].end), b[p.number].high
		}
	}
	for i := range next.shards {
		if s := &next.shards[i]; s.pending > 0 {
			s.again = &secondWait{point: s.point.Point, entries: s.entries}
			s.done, s.pending = false, 0
		}
	}
	return next, nil
}
