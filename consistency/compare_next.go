package consistency

import "fmt"

// nextShard moves the point of a shard after what was compared.
func nextShard(s shardRun, r *shardRead) (next shardRun, compared []comparedTile, note string) {
	for _, t := range r.tiles {
		compared = append(compared, comparedTile{
			tile: t, shard: s.number,
			slot: s.point.Tiles % keptTiles,
		})
		s.point.Tiles++
		s.point.Present += t.entries
		s.entries += t.entries
		s.records += t.records
	}
	s.greatest = maxID(s.greatest, r.reached)
	s.pending += r.pending
	if s.point.Point != r.upTo {
		s.point.Point, s.point.Anchor = r.upTo, r.anchor
	} else if !s.done && s.point.Point != s.watermark && s.pending == 0 {
		note = fmt.Sprintf("shard %d: nothing after %s could be compared", s.number, s.point.Point)
		s.done = true
	}
	s.done = s.done || s.point.Point == s.watermark || s.pending > 0
	return s, compared, note
}

// nextPartition moves a partition to where the next round has to begin: at the first record of a
// later round that was seen. late are offsets that count although the reading has not come to them.
func nextPartition(r partitionRead, late []int64) partitionState {
	next := r.partitionState.clone()
	for _, o := range late {
		next.accepted[o] = true
	}
	next.counted = max(r.counted, r.stop)
	next.from = max(r.from, r.stop)
	for number, s := range r.shards {
		if s.beyond >= 0 {
			next.from = min(next.from, s.beyond)
		}
		if s.records > 0 {
			delete(next.hole, number) // what is gone is before everything that follows of the shard
		}
	}
	return next
}
