//go:build integration

package suites_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/consistency/report"
	"github.com/sluice-outbox/sluice/outbox"
)

// TestAuditTilesAreKept: the tiles of each run are found again, whole and by themselves, and its
// page shows where the fault is.
func TestAuditTilesAreKept(t *testing.T) {
	w := shared(t, 2)
	c := newCarrier(t, w)
	a, err := consistency.New(c.config())
	if err != nil {
		t.Fatal(err)
	}
	var reports []*consistency.Report
	for round := range 3 {
		for shard := range w.Shards {
			c.add(shard, scaled(t, 40_000))
			entries := c.waiting(shard)
			if round == 1 && shard == 1 {
				c.plant(consistency.Lost, shard, entries[len(entries)/2].ID)
				entries = append(entries[:len(entries)/2:len(entries)/2], entries[len(entries)/2+1:]...)
			}
			c.carry(shard, entries)
		}
		r, err := a.Run(deadline(t, 2*time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		reports = append(reports, r)
	}
	for i, r := range reports {
		tiles, err := a.Tiles(deadline(t, time.Minute), r)
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(tiles)) != r.Tiles {
			t.Errorf("run %d: %d tiles are kept of %d", r.Run, len(tiles), r.Tiles)
		}
		at := map[int]outbox.EntryID{}
		for _, s := range r.Range {
			at[s.Shard] = s.After
		}
		var entries, differing int64
		for _, x := range tiles {
			if x.Run != r.Run || at[x.Shard] != x.After {
				t.Errorf("run %d: shard %d: a tile of run %d after %s, want one after %s", r.Run, x.Shard,
					x.Run, x.After, at[x.Shard])
			}
			at[x.Shard] = x.To
			entries += x.Entries
			if !x.Agrees {
				differing++
			}
		}
		for _, s := range r.Range {
			if at[s.Shard] != s.To {
				t.Errorf("run %d: shard %d: the tiles end at %s, the range at %s", r.Run, s.Shard, at[s.Shard],
					s.To)
			}
		}
		if want := int64(i % 2); entries != r.Entries || differing != want ||
			int64(len(r.Findings)) != want {
			t.Errorf("run %d: %d entries in tiles of %d, %d tiles differ, findings %v", r.Run, entries,
				r.Entries, differing, r.Findings)
		}
		var page bytes.Buffer
		if err := report.WriteHTML(&page, r, tiles); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(page.String(), `<use href="#drift" x=`); got != i%2 {
			t.Errorf("run %d: %d cells show drift", r.Run, got)
		}
	}
	c.compare(reports[1])
}
