package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/internal/admin"
	"github.com/sluice-outbox/sluice/internal/config"
	"github.com/sluice-outbox/sluice/internal/deadletter"
	"github.com/sluice-outbox/sluice/internal/preflight"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares text that people read with testdata/<name>.golden.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s\n(go test -update writes it)", file, got, want)
	}
}

// rendered gives what f writes to a page without colours.
func rendered(f func(p *page)) string {
	var b bytes.Buffer
	f(&page{w: &b})
	return b.String()
}

func ref[T any](v T) *T { return &v }

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func TestStatusText(t *testing.T) {
	status := admin.Status{
		Outbox: "orders", Version: 2, Relays: ref(2),
		Shards: []admin.Shard{
			{
				Shard: 0, State: "running", Owner: "a-1", Position: "1700000000000-0",
				LastEntry: "1700000000009-0", Retained: ref(int64(1200)), Lag: ref(int64(9)),
				OldestUndelivered: ref(0.25),
			},
			{
				Shard: 1, State: "halted", Owner: "a-1", Since: ref(noon.Add(-90 * time.Second)),
				Reason: "the stream does not hold the last delivered entry", Entry: "1700000000000-3",
				Expected: "entry 1700000000000-3 with fingerprint aa", Found: "no entry at or after it",
				Next:     "sluice resume --shard 1, with --after ENTRY, --from-start or --at-end",
				Position: "1700000000000-3", LastEntry: "1700000000000-1", Retained: ref(int64(2)),
				OldestUndelivered: ref(7265.0),
			},
			{
				Shard: 2, State: admin.StateNone, Next: "sluice relay", Retained: ref(int64(0)),
				Lag: ref(int64(0)), OldestUndelivered: ref(0.0),
			},
			{
				Shard: 3, State: admin.StateNone, Next: "sluice relay", Retained: ref(int64(0)),
				Lag: ref(int64(0)), OldestUndelivered: ref(0.0),
			},
		},
		Problems: []string{"relay group sluice.orders: no answer"},
	}
	audited := status
	audited.Audits, audited.Problems = true, nil
	audited.Shards = slices.Clone(status.Shards[:1])
	audited.Shards[0].Audited, audited.Shards[0].TrimHeld = "1699999990000-0", ref(7800.0)
	golden(t, "status", rendered(func(p *page) {
		printStatus(p, status, noon)
	})+rendered(func(p *page) { printStatus(p, audited, noon) }))
}

func TestCheckText(t *testing.T) {
	findings := []preflight.Finding{
		{Level: preflight.OK, Area: "redis", Name: "reachable", Detail: "Redis at localhost:6379"},
		{
			Level: preflight.Warn, Area: "redis", Name: "persistence", Detail: "the append-only file is off",
			Fix: "set appendonly yes",
		},
		{
			Level: preflight.Fail, Area: "kafka", Name: "relay.session_timeout",
			Detail: "2s is below the brokers' 6s", Fix: "set it to at least 6s",
		},
	}
	golden(t, "check", rendered(func(p *page) { printChecked(p, checked{Findings: findings}) })+
		rendered(func(p *page) { printChecked(p, checked{Findings: findings[:2]}) })+
		rendered(func(p *page) { printChecked(p, checked{Findings: findings[:1]}) }))
}

func TestMoveText(t *testing.T) {
	sh := admin.Shard{
		Shard: 1, State: "halted", Reason: "rolled back", Expected: "entry 5-0",
		Found: "entry 4-0",
	}
	back := admin.Move{
		Shard: 1, FromEntry: "5-0", To: relay.Position{Entry: outbox.EntryID{MS: 3}},
		Sends: 4, SendsAgain: 1, FirstSent: "4-0",
	}
	ahead := admin.Move{
		Shard: 1, FromEntry: "5-0",
		To: relay.Position{Entry: outbox.EntryID{MS: 9}, Fingerprint: "aa"}, Skips: 3,
	}
	start := admin.Move{Shard: 1, Sends: 1, FirstSent: "1-0"}
	golden(t, "move", rendered(func(p *page) {
		for _, m := range []admin.Move{back, ahead, start} {
			printMove(p, "orders", sh, m)
		}
	}))
}

func TestDeadLetterText(t *testing.T) {
	at := noon.Add(-3 * time.Hour)
	all := []*deadletter.Letter{
		{
			Outbox: "orders", Shard: 0, Entry: outbox.EntryID{MS: 1700000000000}, Reason: "too_large",
			Detail: "2000000 bytes, the topic takes 1048588", Topic: "outbox.event.order", At: at,
			Bytes: 2000000, AggregateType: "order", Type: "OrderPlaced",
		},
		{
			Outbox: "orders", Shard: 1, Entry: outbox.EntryID{MS: 1700000000001, Seq: 2},
			Reason: "undecodable", Detail: `unknown field "foo"`, At: at, Bytes: 42,
		},
		{
			Outbox: "orders", Shard: 1, Entry: outbox.EntryID{MS: 1700000000002}, Reason: "undecodable",
			Detail: "no field id", At: at, Bytes: 42,
		},
	}
	c := &config.Config{}
	c.Outbox.Name = "orders"
	l := &letters{config: c, name: "sluice.orders.dlq", index: &deadletter.Index{Foreign: 1}}
	golden(t, "dlq_list", rendered(func(p *page) {
		printLetters(p, l, all, 1, noon)
		printReplay(p, all, deadletter.Edit{
			Set:   map[string]string{"topic": "x", "key": "k"},
			Unset: []string{"foo"},
		})
		printReplay(p, all[1:], deadletter.Edit{})
	}))
	shown := shownLetter{Letter: all[1], Fields: []shownField{
		showField(deadletter.Field{Name: "id", Value: []byte("e1")}, false),
		showField(deadletter.Field{Name: "payload", Value: []byte("line 1\nline 2")}, false),
		showField(deadletter.Field{Name: "blob", Value: []byte{0xff, 0x1b}}, false),
		showField(deadletter.Field{Name: "long", Value: bytes.Repeat([]byte("é"), 300)}, false),
		showField(deadletter.Field{Name: "empty"}, false),
	}}
	golden(t, "dlq_show", rendered(func(p *page) { printLetter(p, shown) }))
}

// The file that init writes is part of what a newcomer reads.
func TestFirstConfigText(t *testing.T) {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	var out, errs bytes.Buffer
	if code := run(t.Context(), &app{out: &out, err: &errs}, []string{"init"}); code != exitFine {
		t.Fatalf("exit status %d: %s", code, &errs)
	}
	text, err := os.ReadFile("sluice.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if lines := bytes.Count(text, []byte("\n")); lines > 12 {
		t.Errorf("%d lines: want about ten", lines)
	}
	if code := run(t.Context(), &app{out: &out, err: &errs}, []string{"init"}); code != exitUsage {
		t.Errorf("init over a file: exit status %d", code)
	}
	if again, _ := os.ReadFile("sluice.yaml"); !bytes.Equal(text, again) {
		t.Error("init has changed a file that was there")
	}
	out.Reset()
	if code := run(t.Context(), &app{out: &out, err: &errs},
		[]string{"config", "show", "--origin", "--changed"}); code != exitFine {
		t.Fatalf("exit status %d: %s", code, &errs)
	}
	t.Chdir(dir)
	golden(t, "config_origin", out.String())
}
