package delivery

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// at gives a record an offset, as a reader finds it.
func at(offset int64, r *kgo.Record) *kgo.Record {
	r.Offset = offset
	return r
}

func TestLedgerClaims(t *testing.T) {
	t.Parallel()
	k := keys{"orders", "positions", 1}
	claim := func(offset int64, lane string) *kgo.Record {
		return at(offset, k.claim(lane, "relay", time.Unix(0, 0)))
	}
	release := func(offset int64, lane string) *kgo.Record { return at(offset, k.tombstone(lane)) }
	barrier := func(offset int64, lane, by string) *kgo.Record {
		return at(offset, k.withdrawal(lane, by))
	}
	for name, c := range map[string]struct {
		records []*kgo.Record
		claim   int64 // of lane "me"
		before  []string
		after   bool
	}{
		"nobody": {nil, 0, nil, false},
		"alone":  {[]*kgo.Record{claim(5, "me")}, 5, nil, false},
		"an older owner": {
			[]*kgo.Record{claim(1, "a"), claim(5, "me")},
			5,
			[]string{"a"},
			false,
		},
		"older owners in their order": {
			[]*kgo.Record{claim(1, "b"), claim(2, "a"), claim(5, "me")},
			5,
			[]string{"b", "a"},
			false,
		},
		"one that has released": {
			[]*kgo.Record{claim(1, "a"), release(3, "a"), claim(5, "me")},
			5,
			nil, false,
		},
		"one that released later": {
			[]*kgo.Record{claim(1, "a"), claim(5, "me"), release(7, "a")},
			5,
			nil, false,
		},
		"a newer owner": {[]*kgo.Record{claim(5, "me"), claim(6, "a")}, 5, nil, true},
		"a newer owner that left": {
			[]*kgo.Record{claim(5, "me"), claim(6, "a"), release(7, "a")},
			5,
			nil, false,
		},
		"older and newer": {
			[]*kgo.Record{claim(1, "a"), claim(5, "me"), claim(6, "b")},
			5,
			[]string{"a"},
			true,
		},
		"withdrawn by a newer owner": {[]*kgo.Record{
			claim(5, "me"), claim(6, "b"),
			barrier(8, "me", "b"),
		}, 5, nil, true},
		"a claim that was repeated": {
			[]*kgo.Record{claim(1, "a"), claim(5, "me"), claim(9, "a")},
			5,
			nil, true,
		},
		"claimed again by itself": {[]*kgo.Record{
			claim(1, "me"), claim(2, "a"), release(3, "me"),
			claim(5, "me"),
		}, 5, []string{"a"}, false},
		"of another shard": {[]*kgo.Record{
			at(1, keys{"orders", "positions", 11}.claim("a", "", time.Unix(0, 0))),
			at(2, keys{"orders2", "positions", 1}.claim("b", "", time.Unix(0, 0))), claim(5, "me"),
		}, 5, nil, false},
	} {
		g := ledger{keys: k}
		for _, r := range c.records {
			g.add(r)
		}
		if got := g.before(c.claim, "me"); !slices.Equal(got, c.before) {
			t.Errorf("%s: before are %v, want %v", name, got, c.before)
		}
		if got := g.after(c.claim, "me"); got != c.after {
			t.Errorf("%s: after is %v", name, got)
		}
	}
}

func TestLedgerPosition(t *testing.T) {
	t.Parallel()
	k := keys{"orders", "positions", 1}
	g := ledger{keys: k}
	if g.last != nil {
		t.Error("a position of nothing")
	}
	first, second := at(1, k.position([]byte("one"))), at(4, k.position([]byte("two")))
	g.add(first)
	g.add(at(2, k.claim("a", "", time.Unix(0, 0))))
	g.add(at(3, keys{"orders", "positions", 11}.position([]byte("another shard's"))))
	if g.last != first {
		t.Errorf("the last position is %+v", g.last)
	}
	g.add(second)
	if g.last != second {
		t.Errorf("the last position is %+v", g.last)
	}
	g.add(at(5, k.position(nil))) // somebody has deleted it
	if g.last != nil {
		t.Errorf("the last position is %+v", g.last)
	}
	g.add(at(6, first))
	if g.last != first || len(g.live) != 1 {
		t.Errorf("the last position is %+v, live are %v", g.last, g.live)
	}
}

// The ledger against the dumb way: what counts of each key is its last record.
func TestLedgerAgainstMap(t *testing.T) {
	t.Parallel()
	k := keys{"orders", "positions", 3}
	rapid.Check(t, func(t *rapid.T) {
		g := ledger{keys: k}
		last := map[string]*kgo.Record{}
		offset := int64(0)
		for range rapid.IntRange(0, 40).Draw(t, "records") {
			offset += rapid.Int64Range(1, 3).Draw(t, "gap") // markers and what was compacted
			lane := "lane" + strconv.Itoa(rapid.IntRange(0, 4).Draw(t, "lane"))
			by := "lane" + strconv.Itoa(rapid.IntRange(0, 4).Draw(t, "by"))
			r := at(offset, [...]*kgo.Record{
				k.claim(lane, "relay", time.Unix(0, 0)), k.tombstone(lane), k.withdrawal(lane, by),
				k.position([]byte(lane)), k.position(nil),
				keys{"orders", "positions", 33}.claim(lane, "relay", time.Unix(0, 0)),
			}[rapid.IntRange(0, 5).Draw(t, "kind")])
			g.add(r)
			last[string(r.Key)] = r
		}
		own := "lane" + strconv.Itoa(rapid.IntRange(0, 4).Draw(t, "own"))
		claim := rapid.Int64Range(0, offset+1).Draw(t, "claim")
		var before []string
		var after bool
		for i := range 5 {
			lane := "lane" + strconv.Itoa(i)
			switch r := last[k.claimKey(lane)]; {
			case r == nil, r.Value == nil, lane == own:
			case r.Offset < claim:
				before = append(before, lane)
			case r.Offset > claim:
				after = true
			}
		}
		got := g.before(claim, own)
		slices.SortFunc(before, func(a, b string) int {
			return int(last[k.claimKey(a)].Offset - last[k.claimKey(b)].Offset)
		})
		if !slices.Equal(got, before) {
			t.Fatalf("before %d: got %v, want %v", claim, got, before)
		}
		if got := g.after(claim, own); got != after {
			t.Fatalf("after %d: got %v, want %v", claim, got, after)
		}
		position := last[PositionKey(k.outbox, k.shard)]
		if position != nil && position.Value == nil {
			position = nil
		}
		if g.last != position {
			t.Fatalf("the position is %+v, want %+v", g.last, position)
		}
	})
}
