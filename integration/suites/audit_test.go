//go:build integration

package suites_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/integration/testenv"
)

// auditConfig is how the audits of these tests look at an environment.
func auditConfig(w *testenv.Env) consistency.Config {
	return consistency.Config{
		Outbox: w.Outbox, Redis: w.Redis, Kafka: w.KafkaDirect(),
		Route: w.Topic(), Settle: 300 * time.Millisecond,
	}
}

// audit runs one audit and checks what must hold of every report.
func audit(t *testing.T, cfg consistency.Config) *consistency.Report {
	t.Helper()
	a, err := consistency.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r, err := a.Run(deadline(t, 5*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("audit %d: %s, %d entries, %d records, %d tiles, %d looked into, counts %v, incomplete "+
		"%q, %s",
		r.Run, r.Verdict, r.Entries, r.Records, r.Tiles, r.TilesLooked, r.Counts, r.Incomplete,
		time.Since(began).Round(time.Millisecond))
	if _, err := json.Marshal(r); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestAuditOfACleanOutboxAgrees: audits of what a relay delivers agree, at any moment of asking, in
// rounds of new entries, and from scratch.
func TestAuditOfACleanOutboxAgrees(t *testing.T) {
	t.Parallel()
	w := shared(t, 4)
	w.Run(w.Config())
	total := int64(0)
	for range 3 {
		for shard := range w.Shards {
			n := scaled(t, 10_000)
			w.Add(shard, n, "payload")
			total += int64(n)
		}
		w.AwaitCommitted(time.Minute)
		if r := audit(t, auditConfig(w)); r.Verdict != consistency.Agree || len(r.Findings) > 0 {
			t.Fatalf("not in agreement: %v %v", r.Findings, r.Incomplete)
		}
	}
	full := auditConfig(w)
	full.Full = true
	if r := audit(t, full); r.Verdict != consistency.Agree || r.Entries != total ||
		r.Records != total {
		t.Fatalf("%d entries and %d records of %d: %s", r.Entries, r.Records, total, r.Verdict)
	}
	outside := auditConfig(w)
	outside.Outside = &consistency.Outside{}
	if r := audit(t, outside); r.Verdict != consistency.Agree || r.Entries != total {
		t.Fatalf("from outside: %d entries of %d: %s", r.Entries, total, r.Verdict)
	}
}
