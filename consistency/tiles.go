package consistency

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-outbox/sluice/internal/names"
)

// mostInMemory bounds the tiles that a run from outside keeps, by shard.
const mostInMemory = 2 * keptTiles

// Tiles returns the tiles of a run in the order of shards and entries. Of a run from outside they
// are those that this Auditor compared last; of any other, those that are still kept: the last 2048
// of each shard, whatever run they are of.
func (a *Auditor) Tiles(ctx context.Context, r *Report) ([]Tile, error) {
	if r.Outside || r.Run == 0 {
		return MergeTiles(a.outside, mostInMemory), nil
	}
	s, err := a.open(nil)
	if err != nil {
		return nil, err
	}
	defer s.close()
	return s.tiles(ctx, r.Run)
}

// tiles reads what is kept of a run.
func (s *store) tiles(ctx context.Context, run int64) ([]Tile, error) {
	kept := map[string]Tile{}
	err := s.each(ctx, func(k string, v []byte) error {
		if !strings.HasPrefix(k, s.outbox+"/tile ") {
			return nil
		}
		delete(kept, k)
		if len(v) == 0 {
			return nil
		}
		var t Tile
		if err := json.Unmarshal(v, &t); err != nil {
			return fmt.Errorf("topic %s: a tile cannot be read: %w", names.AuditsTopic(s.outbox), err)
		}
		if t.Run == run {
			kept[k] = t
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make([]Tile, 0, len(kept))
	for _, t := range kept {
		out = append(out, t)
	}
	return inOrder(out), nil
}

// inOrder sorts tiles by shard and entry. Of tiles that overlap, as two auditors at once can leave
// them, the first stays.
func inOrder(tiles []Tile) []Tile {
	slices.SortFunc(tiles, func(a, b Tile) int {
		switch {
		case a.Shard != b.Shard:
			return cmp.Compare(a.Shard, b.Shard)
		case a.After.Less(b.After):
			return -1
		case b.After.Less(a.After):
			return 1
		}
		return 0
	})
	out := tiles[:0]
	for _, t := range tiles {
		if n := len(out); n > 0 && out[n-1].Shard == t.Shard && t.After.Less(out[n-1].To) {
			continue
		}
		out = append(out, t)
	}
	return out
}

// MergeTiles merges adjacent tiles, two by two, until no shard has more than most.
func MergeTiles(tiles []Tile, most int) []Tile {
	tiles = inOrder(tiles)
	for begin := 0; begin < len(tiles); {
		end := begin
		for end < len(tiles) && tiles[end].Shard == tiles[begin].Shard {
			end++
		}
		if end-begin <= most {
			begin = end
			continue
		}
		at := begin
		for i := begin; i < end; i++ {
			if i+1 < end && tiles[i].To == tiles[i+1].After {
				tiles[at] = tiles[i].merge(&tiles[i+1])
				i++
			} else {
				tiles[at] = tiles[i]
			}
			at++
		}
		if at == end {
			begin = end // no two of them are adjacent
			continue
		}
		tiles = append(tiles[:at], tiles[end:]...)
	}
	return tiles
}

// merge is a tile for t and the next one. Digests of two runs, which have keys of their own, have
// no sum.
func (t *Tile) merge(next *Tile) Tile {
	m := *t
	m.To = next.To
	m.Entries += next.Entries
	m.Records += next.Records
	m.Agrees = t.Agrees && next.Agrees
	m.Merged = max(1, t.Merged) + max(1, next.Merged)
	m.Key, m.Digest, m.Got = "", Digest{}, nil
	if t.Key == next.Key && t.Key != "" {
		m.Key = t.Key
		m.Digest = t.Digest.plus(next.Digest)
		if got := t.got().plus(next.got()); got != m.Digest {
			m.Got = &got
		}
	}
	if len(t.Offsets)+len(next.Offsets) > 0 {
		m.Offsets = map[string][2]int64{}
	}
	for _, offsets := range []map[string][2]int64{t.Offsets, next.Offsets} {
		for at, o := range offsets {
			if before, ok := m.Offsets[at]; ok {
				o = [2]int64{min(before[0], o[0]), max(before[1], o[1])}
			}
			m.Offsets[at] = o
		}
	}
	return m
}

// got is the digest of the records.
func (t *Tile) got() Digest {
	if t.Got == nil {
		return t.Digest
	}
	return *t.Got
}
