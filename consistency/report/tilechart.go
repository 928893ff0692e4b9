package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/outbox"
)

// tileChart is the tiles of a report as they are drawn: a strip for each shard, a cell for each
// tile, in their order.
type tileChart struct {
	Width, Height int
	Strips        []strip
	// Merged: some cells stand for several tiles.
	Merged bool
}

type strip struct {
	Label string
	Y     int
	Cells []cell
}

// cell is a range of a shard, (after, to].
type cell struct {
	X, Y  int
	State cellState
	// Span: findings about a range of entries reach over this cell and others.
	Span  bool
	Title string

	after, to outbox.EntryID
}

// cellState is what a cell shows, by its colour and by its shape.
type cellState string

const (
	cellAgrees  cellState = "agrees"  // decided by the digest
	cellLooked  cellState = "looked"  // compared entry by entry, and fine
	cellDrift   cellState = "drift"   // has findings that are drift
	cellUnknown cellState = "unknown" // has entries that could not be verified
	cellPending cellState = "pending" // not delivered yet
	cellUnkept  cellState = "unkept"  // compared; its tile is not kept
)

// Sizes in the chart, in units of its own.
const (
	cellSize   = 13
	cellStep   = 16
	cellsInRow = 56
	stripLeft  = 84
	stripGap   = 14

	mostCells  = 2400 // in all, shared by the shards
	fewestKept = 2 * cellsInRow
)

func newTileChart(r *consistency.Report, tiles []consistency.Tile) *tileChart {
	p := &tileChart{Width: stripLeft + cellsInRow*cellStep}
	most := min(max(mostCells/max(1, len(r.Range)), fewestKept), mostCells/2)
	byShard := map[int][]consistency.Tile{}
	for _, t := range consistency.MergeTiles(slices.Clone(tiles), most) {
		byShard[t.Shard] = append(byShard[t.Shard], t)
	}
	for _, s := range r.Range {
		l := strip{Label: fmt.Sprintf("shard %d", s.Shard), Y: p.Height}
		l.Cells = cells(r, &s, byShard[s.Shard])
		for i := range l.Cells {
			l.Cells[i].X = stripLeft + i%cellsInRow*cellStep
			l.Cells[i].Y = p.Height + i/cellsInRow*cellStep
		}
		for _, t := range byShard[s.Shard] {
			p.Merged = p.Merged || t.Merged > 1
		}
		rows := max(1, (len(l.Cells)+cellsInRow-1)/cellsInRow)
		p.Height += rows*cellStep + stripGap
		p.Strips = append(p.Strips, l)
	}
	p.Height = max(0, p.Height-stripGap)
	return p
}

// cells are those of one shard: what was compared before and has findings now, its tiles, what of
// them is not kept, and what is to come.
func cells(r *consistency.Report, s *consistency.ShardRange,
	tiles []consistency.Tile,
) (cells []cell) {
	add := func(state cellState, after, to outbox.EntryID, what string) {
		c := cell{
			State: state, after: after, to: to,
			Title: fmt.Sprintf("shard %d, %s up to %s: %s", s.Shard, From(after), to, what),
		}
		judge(r, s.Shard, &c)
		cells = append(cells, c)
	}
	if n := foundBefore(r, s); n > 0 {
		cells = append(cells, cell{
			State: cellDrift, to: s.After,
			Title: fmt.Sprintf("shard %d, up to %s, compared by earlier audits: %s now", s.Shard, s.After,
				plural(int64(n), "finding", "findings")),
		})
	}
	at := s.After
	const unkept = "compared; the summary of this range is not kept"
	for _, t := range tiles {
		if t.After.Less(at) || s.To.Less(t.To) {
			continue
		}
		if at != t.After {
			add(cellUnkept, at, t.After, unkept)
		}
		state := cellAgrees
		switch {
		case !t.Agrees && r.Truncated:
			state = cellDrift // its findings may be among those that the report does not hold
		case !t.Agrees:
			state = cellLooked
		}
		add(state, t.After, t.To, describe(&t))
		at = t.To
	}
	if at != s.To && s.Entries > 0 {
		add(cellUnkept, at, s.To, unkept)
	}
	if s.Pending > 0 {
		cells = append(cells, cell{
			State: cellPending,
			Title: fmt.Sprintf("shard %d, %s up to %s: %s not been delivered yet", s.Shard, From(s.To),
				s.Watermark, have(s.Pending, "entry", "entries")),
		})
	}
	return cells
}

// judge lets the findings of a range decide about a cell.
func judge(r *consistency.Report, shard int, c *cell) {
	counts := map[consistency.Kind]int64{}
	for i := range r.Findings {
		f := &r.Findings[i]
		switch {
		case f.Shard != shard || f.Kind == consistency.Late:
		case !f.Last.IsZero() && (f.Entry.Less(c.after) || c.to.Less(f.Last)):
			// A range that is wider than the cell has touched it if the two overlap.
			c.Span = c.Span || f.Entry.Less(c.to) && c.after.Less(f.Last)
		case !f.Last.IsZero() || c.after.Less(f.Entry) && !c.to.Less(f.Entry):
			counts[f.Kind] += max(1, f.Count)
		}
	}
	var said []string
	for _, k := range consistency.Kinds {
		if counts[k] == 0 {
			continue
		}
		said = append(said, Grouped(counts[k])+" "+string(k))
		switch {
		case r.Drifts(k):
			c.State = cellDrift
		case k == consistency.Unverifiable && c.State != cellDrift:
			c.State = cellUnknown
		}
	}
	if len(said) > 0 {
		c.Title += "; " + strings.Join(said, ", ")
	}
	if c.Span {
		c.Title += "; a finding is about a wider range that this one is part of"
	}
}

// foundBefore counts the findings about entries that earlier runs had compared.
func foundBefore(r *consistency.Report, s *consistency.ShardRange) (n int) {
	for i := range r.Findings {
		if f := &r.Findings[i]; f.Shard == s.Shard && f.Last.IsZero() && !s.After.Less(f.Entry) &&
			r.Drifts(f.Kind) {
			n++
		}
	}
	return n
}

// describe says what a tile has.
func describe(t *consistency.Tile) string {
	s := fmt.Sprintf("%s, %s", plural(t.Entries, "entry", "entries"),
		plural(t.Records, "record", "records"))
	if t.Merged > 1 {
		s += fmt.Sprintf(" in %d tiles", t.Merged)
	}
	if t.Agrees {
		s += "; agrees"
	} else {
		s += "; compared entry by entry"
	}
	switch {
	case t.Key == "":
	case t.Got == nil:
		s += fmt.Sprintf("; digest %s", t.Digest)
	default:
		s += fmt.Sprintf("; digest of the entries %s, of the records %s", t.Digest, *t.Got)
	}
	const few = 4
	for i, at := range slices.Sorted(maps.Keys(t.Offsets)) {
		if i == few {
			s += fmt.Sprintf("; and %d more partitions", len(t.Offsets)-few)
			break
		}
		s += fmt.Sprintf("; %s %d to %d", Printable(at), t.Offsets[at][0], t.Offsets[at][1])
	}
	return s
}
