package demo

import (
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// Each kind of fault is found as what it is, and nothing else is; what came before it was fine.
func TestEveryPlantIsFound(t *testing.T) {
	for _, kind := range consistency.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			v, out := play(t.Context(), t, Options{Events: 200, Plant: kind, Seed: 7})
			p := v.Planted
			if p == nil || !p.Found || p.Kind != kind || p.Report.Findings[0].Kind != kind {
				t.Fatalf("%+v\n%s", p, out)
			}
			want := consistency.Drift
			switch kind {
			case consistency.Late:
				want = consistency.Agree
			case consistency.Unverifiable:
				want = consistency.Incomplete
			}
			if p.Report.Verdict != want {
				t.Errorf("verdict %s, want %s\n%s", p.Report.Verdict, want, out)
			}
		})
	}
}

// In at-least-once delivery a duplicate is found and allowed.
func TestPlantInAtLeastOnceDelivery(t *testing.T) {
	v, out := play(t.Context(), t, Options{
		Events: 200, Plant: consistency.Duplicated,
		Delivery: relay.DeliveryAtLeastOnce,
	})
	if v.Planted == nil || !v.Planted.Found || v.Planted.Report.Verdict != consistency.Agree {
		t.Errorf("%+v\n%s", v.Planted, out)
	}
}

func TestPlantOfNoKind(t *testing.T) {
	if err := (Options{Plant: "stolen"}).Check(); err == nil {
		t.Error("accepted")
	}
}

// planted is a verdict with a fault that the audit has found, or has not.
func planted(found bool) *Verdict {
	v := &Verdict{
		OK: true, counts: counts{Written: 200, Delivered: 200}, P50: 2, P99: 9,
		EventsPerSecond: 900, Seconds: 1.2,
		Audit: Audited{Verdict: consistency.Agree, Runs: 2, Entries: 200, Records: 200},
	}
	r := &consistency.Report{
		Outbox: outboxName, Run: 3, Verdict: consistency.Agree,
		Started: time.Unix(0, 0), Finished: time.Unix(1, 0), Entries: 128, Records: 128,
		Counts: map[consistency.Kind]int64{},
	}
	v.Planted = &Planted{
		Kind: consistency.Altered, Shard: 2,
		Entry: outbox.EntryID{MS: 1700000000000, Seq: 4}, What: faults[consistency.Altered].what,
		Found: found, Report: r,
	}
	if found {
		r.Verdict = consistency.Drift
		r.Counts[consistency.Altered] = 1
		r.Findings = []consistency.Finding{{
			Kind: consistency.Altered, Shard: 2, Entry: v.Planted.Entry, Count: 1, ID: "e-1", Topic: topic,
			Partition: 2, Offset: 77,
			Detail: "payload: entry e48d2392c7b77053 (80 bytes), record c19c53f7d2766377 (81 bytes); " +
				"written by producer 12, epoch 0",
		}}
	}
	return v
}
