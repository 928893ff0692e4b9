package consistency

import (
	"testing"

	"pgregory.net/rapid"
)

// What is merged has the sums of what it was made of, in the same range, and nothing else is
// merged.
func TestMergeTilesKeepsTheSums(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var tiles []Tile
		for shard := range rapid.IntRange(1, 3).Draw(t, "shards") {
			at := uint64(0)
			for range rapid.IntRange(0, 40).Draw(t, "tiles") {
				if rapid.IntRange(0, 9).Draw(t, "gap") == 0 {
					at++
				}
				x := Tile{
					Shard: shard, After: EntryID{MS: at}, To: EntryID{MS: at + 1},
					Entries: rapid.Int64Range(0, 9).Draw(t, "entries"), Key: "k", Agrees: true,
				}
				x.Records = x.Entries
				x.Digest = Digest{rapid.Uint64().Draw(t, "hi"), rapid.Uint64().Draw(t, "lo")}
				if rapid.IntRange(0, 5).Draw(t, "differs") == 0 {
					got := Digest{}
					x.Agrees, x.Got, x.Records = false, &got, 0
				}
				tiles = append(tiles, x)
				at++
			}
		}
		type sums struct {
			entries, records int64
			merged           int
			want, got        Digest
			width            uint64
			agrees           bool
		}
		of := func(tiles []Tile) map[int]sums {
			all := map[int]sums{}
			for i := range tiles {
				x := &tiles[i]
				s, ok := all[x.Shard]
				if !ok {
					s.agrees = true
				}
				s.entries += x.Entries
				s.records += x.Records
				s.merged += max(1, x.Merged)
				s.want, s.got = s.want.plus(x.Digest), s.got.plus(x.got())
				s.width += x.To.MS - x.After.MS
				s.agrees = s.agrees && x.Agrees
				all[x.Shard] = s
			}
			return all
		}
		before := of(tiles)
		most := rapid.IntRange(1, 20).Draw(t, "most")
		gaps := map[int]int{}
		for i := 1; i < len(tiles); i++ {
			if tiles[i].Shard == tiles[i-1].Shard && tiles[i].After != tiles[i-1].To {
				gaps[tiles[i].Shard]++
			}
		}
		merged := MergeTiles(tiles, most)
		for shard, want := range before {
			if got := of(merged)[shard]; got != want {
				t.Fatalf("shard %d: %+v, want %+v", shard, got, want)
			}
		}
		count := map[int]int{}
		for _, x := range merged {
			count[x.Shard]++
		}
		for shard, n := range count {
			if n > most && n > gaps[shard]+1 {
				t.Fatalf("shard %d: %d tiles in %d pieces, want %d at most", shard, n, gaps[shard]+1, most)
			}
		}
	})
}

// Of two auditors that have compared the same at once, one is shown.
func TestMergeTilesDropsWhatOverlaps(t *testing.T) {
	t.Parallel()
	got := MergeTiles([]Tile{
		{Shard: 0, After: EntryID{MS: 1}, To: EntryID{MS: 3}, Entries: 2},
		{Shard: 0, After: EntryID{}, To: EntryID{MS: 2}, Entries: 1},
		{Shard: 0, After: EntryID{MS: 2}, To: EntryID{MS: 4}, Entries: 4},
	}, 9)
	if len(got) != 2 || got[0].Entries != 1 || got[1].Entries != 4 {
		t.Errorf("%+v", got)
	}
}
