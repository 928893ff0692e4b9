package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/outbox"
)

func entryAt(ms, seq uint64) outbox.EntryID { return outbox.EntryID{MS: ms, Seq: seq} }

// sampleReport has some of everything, and texts that would like to steer a terminal.
func sampleReport() (*consistency.Report, []consistency.Tile) {
	r := &consistency.Report{
		Outbox: "orders", Run: 7, Verdict: consistency.Drift, Started: noon,
		Finished: noon.Add(1500 * time.Millisecond),
		Entries:  200_000, Records: 200_001, DeadLetters: 2, Tiles: 26, TilesLooked: 2,
		Range: []consistency.ShardRange{
			{
				Shard: 0, After: entryAt(1700000000000, 0), To: entryAt(1700000009000, 3), Entries: 100_000,
				Records: 100_000,
			},
			{
				Shard: 1, After: entryAt(1700000000000, 0), To: entryAt(1700000008000, 1),
				Watermark: entryAt(1700000009000, 0), Entries: 100_000, Records: 100_001, Pending: 5,
			},
		},
		Incomplete: []string{"shard 1: 5 entries up to the watermark 1700000009000-0 have no record, " +
			"and neither has any later one: not delivered yet"},
		Findings: []consistency.Finding{
			{
				Kind: consistency.Lost, Shard: 0, Entry: entryAt(1700000001000, 0), Count: 1, ID: "e-1",
				Topic: "orders.events", Partition: 2, Offset: -1,
				Detail: "no committed record of this entry; the shard's position is 1700000009000-3",
			},
			{
				Kind: consistency.Duplicated, Shard: 1, Entry: entryAt(1700000002000, 0), Count: 1,
				ID: "e-2\x1b[2J\u202e", Topic: "orders.events", Partition: 1, Offset: 77,
				Detail: "the entry is already at orders.events/1/70; written by producer 12, epoch 3",
			},
			{
				Kind: consistency.Unverifiable, Shard: 1, Entry: entryAt(1700000003000, 0),
				Last: entryAt(1700000004000, 0), Count: 12, Partition: -1, Offset: -1,
				Detail: "entries of this range were trimmed or deleted before they were audited; their " +
					"records are there",
			},
		},
		Counts: map[consistency.Kind]int64{
			consistency.Lost: 1, consistency.Duplicated: 1,
			consistency.Unverifiable: 12,
		},
	}
	var want, got consistency.Digest
	_ = want.UnmarshalText([]byte(strings.Repeat("1f", 16)))
	_ = got.UnmarshalText([]byte(strings.Repeat("e0", 16)))
	return r, []consistency.Tile{
		{
			Run: 7, Shard: 0, After: entryAt(1700000000000, 0), To: entryAt(1700000004000, 0), Entries: 8192,
			Records: 8191, Digest: want, Got: &got, Key: "k",
		},
		{
			Run: 7, Shard: 0, After: entryAt(1700000004000, 0), To: entryAt(1700000009000, 3), Entries: 8192,
			Records: 8192, Digest: want, Key: "k", Agrees: true,
		},
		{
			Run: 7, Shard: 1, After: entryAt(1700000000000, 0), To: entryAt(1700000003000, 0), Entries: 8192,
			Records: 8192, Digest: want, Key: "k",
		},
	}
}

func TestAuditReportText(t *testing.T) {
	t.Parallel()
	r, tiles := sampleReport()
	golden(t, "audit_short", rendered(func(p *page) { p.shortReport(r) }))
	golden(t, "audit_long", rendered(func(p *page) { p.longReport(r, tiles) }))
	agree := &consistency.Report{
		Outbox: "orders", Run: 8, Verdict: consistency.Agree, Started: noon,
		Finished: noon.Add(time.Second), Entries: 1200, Records: 1200, Range: r.Range[:1],
		Counts: map[consistency.Kind]int64{},
	}
	golden(t, "audit_agree", rendered(func(p *page) { p.shortReport(agree) }))
	for verdict, want := range map[consistency.Verdict]error{
		consistency.Agree:      nil,
		consistency.Incomplete: errQuiet,
	} {
		if err := auditStatus(&consistency.Report{Verdict: verdict}); !errors.Is(err, want) {
			t.Errorf("%s: %v", verdict, err)
		}
	}
	var threshold *thresholdError
	if err := auditStatus(r); !errors.As(err, &threshold) {
		t.Errorf("drift: %v", err)
	}
}

// What a script reads of a report is there whatever it found.
func TestAuditReportInJSON(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	html := filepath.Join(t.TempDir(), "report.html")
	out, err := s.auditing(t, "json", "--settle", "0", "--long", "--html", html)
	if err != nil {
		t.Fatal(err)
	}
	var have map[string]any
	if err := json.Unmarshal([]byte(out), &have); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"summary", "outbox", "run", "verdict", "range", "entries", "records",
		"findings", "counts", "incomplete", "next",
	} {
		if _, ok := have[name]; !ok {
			t.Errorf("%s is missing:\n%s", name, out)
		}
	}
	text, err := json.Marshal(consistency.Finding{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"kind", "shard", "entry", "id", "topic", "partition", "offset",
		"detail",
	} {
		if !strings.Contains(string(text), `"`+name+`":`) {
			t.Errorf("a finding has no %s: %s", name, text)
		}
	}
	page, err := os.ReadFile(html)
	if err != nil || !strings.HasPrefix(string(page), "<!doctype html>") {
		t.Errorf("%v\n%.200s", err, page)
	}
	// The page of a run that is remembered, over the one that is there.
	if _, err := s.auditing(t, "text", "show", "1", "--html", html); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(html), ".sluice-audit-*")); err != nil ||
		len(left) > 0 {
		t.Errorf("%v %v", left, err)
	}
}
