package consistency

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
)

// collectReached finds up to where each shard that does not agree has been delivered.
func (c *collector) collectReached(ctx context.Context, before runState,
	sides *collected,
) (map[int]EntryID, error) {
	all := map[int]EntryID{}
	for i := range sides.shards {
		if !sides.shards[i].disagrees() {
			continue
		}
		var err error
		if all[i], err = c.reached(ctx, before.shards[i], sides); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// reached is what a shard's position says, or the greatest entry that has a record. Partitions
// whose reading has stopped early may hold greater ones.
func (c *collector) reached(ctx context.Context, shard shardRun,
	sides *collected,
) (EntryID, error) {
	s := &sides.shards[shard.number]
	reached := maxID(maxID(s.reached, shard.position), shard.point.Point)
	for _, p := range c.topics.snapshot().partitions {
		read := sides.partition(p)
		if read.stop >= read.end || !reached.Less(s.upTo) {
			continue
		}
		err := c.readPartition(ctx, p, read.stop, read.end, func(_ *kgo.Record, ref reference) error {
			if ref.shard != shard.number {
				return nil
			}
			if reached = maxID(reached, ref.id); !reached.Less(s.upTo) {
				return errStop
			}
			return nil
		})
		if err != nil {
			return reached, err
		}
	}
	return reached, nil
}
