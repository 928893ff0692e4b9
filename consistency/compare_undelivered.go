package consistency

import (
	"slices"
)

// disagrees reports whether a tile has to be looked into.
func (s *shardRead) disagrees() bool {
	return slices.ContainsFunc(s.tiles, func(t tile) bool { return !t.agrees() })
}

// withoutUndelivered ends the round of each shard where its delivery has ended. reached says where
// that is, by shard, for those that do not agree.
func withoutUndelivered(shards []shardRead, reached map[int]EntryID) []shardRead {
	shards = slices.Clone(shards)
	for number, id := range reached {
		shards[number] = shards[number].deliveredUpTo(id)
	}
	return shards
}

// deliveredUpTo takes entries out of the round that are above every record of their shard, and
// above what the position says was delivered. They have not been delivered yet, and are not lost.
// They are left to the next run.
func (s shardRead) deliveredUpTo(reached EntryID) shardRead {
	if !reached.Less(s.upTo) {
		return s
	}
	var keep []tile
	for _, t := range s.tiles {
		switch {
		case !reached.Less(t.to):
			keep = append(keep, t)
		case t.after.Less(reached):
			t.shortened, t.to = true, reached
			keep = append(keep, t)
		default:
			s.pending += t.entries
		}
	}
	s.tiles, s.upTo, s.anchor = keep, reached, ""
	return s
}

// recounted gives shortened tiles the entries that the first look has seen in them. The others are
// pending.
func recounted(shards []shardRead, looks []mismatch) []shardRead {
	shards = slices.Clone(shards)
	for i := range looks {
		m := &looks[i]
		s := &shards[m.shard]
		t := s.tiles[m.tile]
		if !t.shortened {
			continue
		}
		s.pending += t.entries - m.look.entries
		s.anchor = m.look.anchor
		t.entries, t.want, t.shortened, t.odd = m.look.entries, m.look.want, false, true
		s.tiles = slices.Clone(s.tiles)
		s.tiles[m.tile] = t
	}
	return shards
}
