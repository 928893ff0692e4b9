package demo

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9/logging"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

func TestMain(m *testing.M) {
	logging.Disable() // of every connection that chaos breaks
	os.Exit(m.Run())
}

// play runs a demo and wants a verdict without a fault.
func play(ctx context.Context, t *testing.T, o Options) (*Verdict, string) {
	t.Helper()
	var out bytes.Buffer
	o.Out = &out
	v, err := Run(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if !v.OK || v.Delivered != v.Written || o.Events > 0 && v.Written != o.Events {
		t.Errorf("%+v\n%s", v, out.String())
	}
	return v, out.String()
}

func TestEventsArriveOnceAndInOrder(t *testing.T) {
	for _, d := range []relay.Delivery{relay.DeliveryExactlyOnce, relay.DeliveryAtLeastOnce} {
		t.Run(d.String(), func(t *testing.T) {
			_, out := play(t.Context(), t, Options{Events: 1000, Delivery: d})
			if !strings.Contains(out, "every event arrived once and in order, and the audits agree") {
				t.Errorf("no such verdict:\n%s", out)
			}
		})
	}
}

func TestChaosChangesNothing(t *testing.T) {
	v, _ := play(t.Context(), t, Options{Events: 2000, Chaos: true, Seed: 1})
	if v.Kills == 0 || v.Pauses == 0 {
		t.Errorf("%d kills and %d pauses, want some of each", v.Kills, v.Pauses)
	}
}

// interrupter interrupts when it is told that something was written.
type interrupter struct {
	bytes.Buffer
	interrupt func()
}

var someWritten = regexp.MustCompile(`written [1-9]`)

func (i *interrupter) Write(b []byte) (int, error) {
	if someWritten.Match(b) {
		i.interrupt()
	}
	return i.Buffer.Write(b)
}

// An interrupt closes the shop; what it has written is still delivered and judged.
func TestInterruptBringsTheVerdict(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out := &interrupter{interrupt: interrupt}
	v, err := Run(ctx, Options{Rate: 200, Out: out})
	if err != nil {
		t.Fatal(err)
	}
	if !v.OK || v.Written == 0 || v.Delivered != v.Written {
		t.Errorf("%+v\n%s", v, out)
	}
}

func TestOptionsOutOfRange(t *testing.T) {
	_, err := Run(context.Background(), Options{Events: -1, Shards: 1000})
	if err == nil || !strings.Contains(err.Error(), "events: -1") ||
		!strings.Contains(err.Error(), "shards: 1000") {
		t.Errorf("%v, want both mistakes named", err)
	}
	if errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

var update = flag.Bool("update", false, "write the golden files anew")

func TestVerdictReads(t *testing.T) {
	fine := &Verdict{
		OK: true, counts: counts{Written: 20000, Delivered: 20000}, P50: 4.21, P99: 1903.4,
		EventsPerSecond: 2312.4, Seconds: 10.31,
		Chaos: true, Kills: 5, Pauses: 4, Seed: 42,
		Audit: Audited{Verdict: consistency.Agree, Runs: 14, Entries: 20000, Records: 20000, Late: 148},
	}
	bad := &Verdict{counts: counts{
		Written: 100, Delivered: 99, Duplicates: 2, OutOfOrder: 1,
		Unknown: 3,
	}, Lost: 1, P50: 1, P99: 2, EventsPerSecond: 50, Seconds: 2, Audit: Audited{
		Verdict: consistency.Drift, Runs: 3, Entries: 100, Records: 101, Findings: 3,
		Reasons: []string{"topic outbox.event.\x1border: it may not be seen"},
		First: []consistency.Finding{{
			Kind: consistency.Lost, Shard: 1,
			Entry: outbox.EntryID{MS: 1700000000000}, ID: "e-1", Topic: "outbox.event.order",
			Partition: 1, Offset: -1, Detail: "no committed record of this entry",
		}},
	}}
	behind := &Verdict{
		counts: counts{Written: 100, Delivered: 100},
		Audit:  Audited{Verdict: consistency.Agree, Runs: 2, Entries: 90, Records: 90},
	}
	for name, v := range map[string]*Verdict{
		"verdict-fine.txt": fine, "verdict-bad.txt": bad,
		"verdict-behind.txt": behind, "planted.txt": planted(true),
		"planted-missed.txt": planted(false),
	} {
		var out bytes.Buffer
		v.write(&out, false)
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if out.String() != string(want) {
			t.Errorf("%s differs (-update writes it anew):\n%s", file, out.String())
		}
	}
}
