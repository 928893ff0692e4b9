package demo

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"

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
	for _, d := range []relay.Delivery{relay.ExactlyOnce, relay.AtLeastOnce} {
		t.Run(d.String(), func(t *testing.T) {
			_, out := play(t.Context(), t, Options{Events: 1000, Delivery: d})
			if !strings.Contains(out, "every event arrived once and in order") {
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

// An interrupt closes the shop; what it has written is still delivered and judged.
func TestInterruptBringsTheVerdict(t *testing.T) {
	ctx, interrupt := context.WithTimeout(t.Context(), time.Second)
	defer interrupt()
	v, _ := play(ctx, t, Options{Rate: 200})
	if v.Written == 0 {
		t.Error("nothing was written in a second")
	}
}

func TestOptionsOutOfRange(t *testing.T) {
	_, err := Run(context.Background(), Options{Events: -1, Shards: 1000})
	if err == nil || !strings.Contains(err.Error(), "events: -1") || !strings.Contains(err.Error(), "shards: 1000") {
		t.Errorf("%v, want both mistakes named", err)
	}
	if errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

var update = flag.Bool("update", false, "write the golden files anew")

func TestVerdictReads(t *testing.T) {
	fine := &Verdict{
		OK: true, counts: counts{Written: 20000, Delivered: 20000}, P50: 4.21, P99: 1903.4, EventsPerSecond: 2312.4, Seconds: 10.31,
		Chaos: true, Kills: 5, Pauses: 4, Seed: 42,
	}
	bad := &Verdict{counts: counts{Written: 100, Delivered: 99, Duplicates: 2, OutOfOrder: 1, Unknown: 3}, Lost: 1, P50: 1, P99: 2, EventsPerSecond: 50, Seconds: 2}
	for name, v := range map[string]*Verdict{"verdict-fine.txt": fine, "verdict-bad.txt": bad} {
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
