package report

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/outbox"
)

// sampleReport is what a run over three shards could have found, with texts from outside that would
// like to be more than text.
func sampleReport() (*consistency.Report, []consistency.Tile) {
	began := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	r := newReport("orders", 12)
	r.Started, r.Finished = began, began.Add(61_234*time.Millisecond)
	at := func(n int) outbox.EntryID {
		return outbox.EntryID{MS: 1_700_000_000_000 + uint64(n)*1000}
	}
	var tiles []consistency.Tile
	for shard, n := range []int{150, 61, 7} {
		s := consistency.ShardRange{
			Shard: shard, After: at(0), To: at(n), Watermark: at(n), Since: at(0),
			Entries: int64(n) * 8192, Records: int64(n) * 8192,
		}
		for i := range n {
			sum := sha256.Sum256(fmt.Append(nil, shard, i))
			t := consistency.Tile{
				Run: 12, Shard: shard, After: at(i), To: at(i + 1), Entries: 8192,
				Records: 8192, Key: "00112233445566778899aabbccddeeff", Agrees: true,
			}
			_ = t.Digest.UnmarshalText(fmt.Appendf(nil, "%x", sum[:16]))
			t.Offsets = map[string][2]int64{fmt.Sprintf("outbox.event.order/%d", shard): {
				int64(i) * 8200,
				int64(i)*8200 + 8191,
			}}
			tiles = append(tiles, t)
		}
		r.Range = append(r.Range, s)
		r.Tiles += int64(n)
	}
	differs := func(i int, records int64) {
		tiles[i].Agrees, tiles[i].Records, tiles[i].Got = false, records, &tiles[i+1].Digest
		r.TilesLooked++
	}
	differs(17, 8191)
	differs(90, 8193)
	differs(150+30, 8192)
	tiles[150+40].Agrees = false // dead letters in it: looked into, and fine
	r.TilesLooked++
	tiles = append(tiles[:120], tiles[124:]...) // not kept
	r.Range[1].Pending, r.Range[1].Watermark = 1200, at(62)
	in := func(n int, ms uint64) outbox.EntryID { id := at(n); id.MS += ms; return id }
	add(r,
		consistency.Finding{
			Kind: consistency.Lost, Shard: 0, Entry: in(17, 400), Count: 1,
			ID: "0197a9c6-7c3e-7b1a-9d57-0242ac120002", Topic: "outbox.event.order", Partition: 0,
			Offset: -1, Detail: "no committed record of this entry; the shard's position is " +
				"1700000150000-0",
		},
		consistency.Finding{
			Kind: consistency.Duplicated, Shard: 0, Entry: in(90, 10), Count: 1,
			ID: `<script>alert("id")</script>`, Topic: `orders"><img src=x onerror=alert(1)>`,
			Partition: 0, Offset: 738_211, Detail: "the entry is already at " +
				"outbox.event.order/0/738104; written by producer 4001, epoch 7",
		},
		consistency.Finding{
			Kind: consistency.Altered, Shard: 1, Entry: in(30, 77), Count: 1,
			ID: "e\x1b[31m\u202ecod.exe", Topic: "outbox.event.order", Partition: 1, Offset: 246_020,
			Detail: `payload: entry 1f2e3d4c5b6a7988 (212 bytes), record 8899aabbccddeeff (213 bytes); ` +
				`header "</td><b>x" is not in the entry; written by producer 12, epoch 3`,
		},
		consistency.Finding{
			Kind: consistency.Unverifiable, Shard: 2, Entry: in(2, 1),
			Last: in(2, 900), Count: 12, Partition: -1, Offset: -1, Detail: "entries of this range " +
				"were trimmed or deleted before they were audited; their records are there",
		},
		consistency.Finding{
			Kind: consistency.Lost, Shard: 2, Entry: at(3), Last: at(7), Count: 4,
			Partition: -1, Offset: -1, Detail: "Redis has added 32768 entries after " +
				"1700000003000-0, has 32764 of them, and 0 more are in Kafka: the others were " +
				"deleted or trimmed before they were delivered",
		},
		consistency.Finding{
			Kind: consistency.Late, Shard: 2, Entry: in(5, 3), Count: 1,
			ID: "e-9", Topic: "outbox.event.order", Partition: 2, Offset: 40_100, Detail: "not there " +
				"30s after it was the last entry of its shard, there at the second look",
		},
	)
	r.Entries, r.Records, r.DeadLetters = 218*8192, 218*8192, 3
	r.Incomplete = []string{
		fmt.Sprintf("shard 1: 1200 entries up to the watermark %s have no record, and neither has "+
			"any later one: not delivered yet", at(62)),
		"topic outbox.event.<i>refund</i>: not authorized to describe it",
	}
	r.Verdict = consistency.Drift
	return r, tiles
}

// newReport is a report in which nothing was found.
func newReport(outbox string, run int64) *consistency.Report {
	return &consistency.Report{Outbox: outbox, Run: run, Counts: map[consistency.Kind]int64{}}
}

// add puts findings into a report as an audit does: it holds 10,000 and counts all.
func add(r *consistency.Report, findings ...consistency.Finding) {
	for _, f := range findings {
		r.Counts[f.Kind] += f.Count
		if r.Truncated = len(r.Findings) == 10_000; !r.Truncated {
			r.Findings = append(r.Findings, f)
		}
	}
}
