package delivery

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// ledger is what the committed records of a shard's partition say, up to where they were read.
type ledger struct {
	keys keys
	// live are the lanes whose claim is not withdrawn, in the order of their claims' offsets.
	live []claimed
	// last is the last position record, nil if there is none; a tombstone of it counts as none.
	last *kgo.Record
}

// claimed is a live claim.
type claimed struct {
	lane   string
	offset int64
}

// add takes in the next record.
func (g *ledger) add(r *kgo.Record) {
	if g.keys.isPosition(r) {
		if g.last = r; r.Value == nil {
			g.last = nil
		}
		return
	}
	lane := g.keys.lane(r)
	if lane == "" {
		return
	}
	g.live = slices.DeleteFunc(g.live, func(c claimed) bool { return c.lane == lane })
	if r.Value != nil {
		g.live = append(g.live, claimed{lane, r.Offset})
	}
}

// before are the lanes that claimed the shard before an offset and have not withdrawn. A claim at
// that offset has to fence them. The owners of later claims fence it.
func (g *ledger) before(offset int64, own string) []string {
	var lanes []string
	for _, c := range g.live {
		if c.offset < offset && c.lane != own {
			lanes = append(lanes, c.lane)
		}
	}
	return lanes
}

// after reports whether another lane has claimed the shard after an offset.
func (g *ledger) after(offset int64, own string) bool {
	return slices.ContainsFunc(g.live, func(c claimed) bool {
		return c.offset > offset && c.lane != own
	})
}
