//go:build integration

package suites_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/consistency/report"
	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// lengths are the numbers of entries in the streams.
func lengths(ctx context.Context, w *testenv.Env) ([]int64, error) {
	all := make([]int64, w.Shards)
	for shard := range all {
		n, err := w.Redis.XLen(ctx, w.Stream(shard)).Result()
		if err != nil {
			return nil, err
		}
		all[shard] = n
	}
	return all, nil
}

// awaitTrimmed waits until no stream has more entries than a few: Redis trims whole nodes, of a
// hundred entries by default.
func awaitTrimmed(t *testing.T, w *testenv.Env, few int64) {
	t.Helper()
	w.Await(time.Minute, func(ctx context.Context) error {
		all, err := lengths(ctx, w)
		for shard, n := range all {
			if n > few {
				err = errors.Join(err, fmt.Errorf("shard %d still has %d entries", shard, n))
			}
		}
		return err
	})
}

// awaitHeld waits until the relay has looked at every shard with everything delivered, and has told
// that it holds back what it could trim.
func awaitHeld(w *testenv.Env, r *relay.Relay) {
	w.AwaitPassed(time.Minute)
	w.Await(time.Minute, func(context.Context) error {
		for _, st := range r.Status() {
			if st.TrimHeld <= 0 {
				return fmt.Errorf("shard %d holds nothing back: %+v", st.Shard, st)
			}
		}
		return nil
	})
}

// limited is a relay that keeps nothing longer than it must, and trims only what audits have
// compared.
func limited(t *testing.T, w *testenv.Env,
	d relay.Delivery,
) (cfg relay.Config, auditor *consistency.Auditor) {
	t.Helper()
	ac := auditConfig(w)
	ac.AllowDuplicates = d == relay.DeliveryAtLeastOnce
	auditor, err := consistency.New(ac)
	if err != nil {
		t.Fatal(err)
	}
	progress := auditor.Progress()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); progress.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	cfg = w.Config()
	cfg.Delivery, cfg.Trim.Keep = d, time.Millisecond
	cfg.Trim.Limit = func(_ context.Context, shard int) (outbox.EntryID, error) {
		return progress.UpTo(shard)
	}
	return cfg, auditor
}

// TestTrimWaitsForTheAudit and follows it: what is delivered and not audited stays, however old it
// is, and goes when an audit has compared it.
func TestTrimWaitsForTheAudit(t *testing.T) {
	t.Parallel()
	for _, d := range []relay.Delivery{relay.DeliveryExactlyOnce, relay.DeliveryAtLeastOnce} {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			w := shared(t, 2)
			cfg, auditor := limited(t, w, d)
			r := w.Run(cfg)
			added := int64(0)
			for range 3 {
				for shard := range w.Shards {
					w.Add(shard, 2000, "payload")
				}
				added += 2000
				before, err := lengths(t.Context(), w)
				if err != nil {
					t.Fatal(err)
				}
				awaitHeld(w, r.Relay)
				if after, err := lengths(t.Context(), w); err != nil ||
					fmt.Sprint(after) != fmt.Sprint(before) {
					t.Fatalf("trimmed before the audit: %d entries of %d, %v", after, before, err)
				}
				audited, err := auditor.Run(deadline(t, time.Minute))
				if err != nil {
					t.Fatal(err)
				}
				t.Log(audited.Verdict, audited.Entries, report.Coverage(audited))
				if audited.Verdict != consistency.Agree || audited.Entries != 2000*int64(w.Shards) ||
					report.Coverage(audited) != "complete: every entry that was ever added has been compared" {
					t.Fatalf("%s, %d entries, %s: %v %v", audited.Verdict, audited.Entries,
						report.Coverage(audited), audited.Findings, audited.Incomplete)
				}
				awaitTrimmed(t, w, 200)
			}
		})
	}
}

// TestWhatIsLostIsNotTrimmed: an entry that an audit found lost is in Redis alone. It stays
// until a repair has sent it.
func TestWhatIsLostIsNotTrimmed(t *testing.T) {
	t.Parallel()
	w := shared(t, 1)
	cfg, auditor := limited(t, w, relay.DeliveryExactlyOnce)
	r := w.Run(cfg)
	w.Add(0, 1000, "delivered")
	w.AwaitCommitted(time.Minute)
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	// Somebody moves the position by hand.
	w.Add(0, 500, "lost")
	entries := w.Entries()
	last := entries[len(entries)-1]
	if err := relay.SetPosition(t.Context(), w.KafkaDirect(), w.Outbox, 0,
		relay.Position{Entry: last.ID, Count: 1500}); err != nil {
		t.Fatal(err)
	}
	r = w.Run(cfg)
	w.Add(0, 1000, "delivered again")
	w.AwaitCommitted(time.Minute)
	report, err := auditor.Run(deadline(t, time.Minute))
	if err != nil || report.Verdict != consistency.Drift || report.Counts[consistency.Lost] != 500 ||
		report.Range[0].Missing != 500 {
		t.Fatalf("%v: %+v", err, report)
	}
	awaitTrimmed(t, w, 1600)
	awaitHeld(w, r.Relay)
	if got, err := w.Redis.XRange(t.Context(), w.Stream(0), entries[1000].ID.String(),
		last.ID.String()).Result(); err != nil || len(got) != 500 {
		t.Fatalf("%d of 500 lost entries are there, %v", len(got), err)
	}
	plan, err := auditor.Plan(deadline(t, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := auditor.Repair(deadline(t, time.Minute), plan); err != nil || n != 500 {
		t.Fatalf("%d, %v", n, err)
	}
	if report, err = auditor.Run(deadline(t, time.Minute)); err != nil ||
		report.Verdict != consistency.Agree || report.Repaired != 500 {
		t.Fatalf("%v: %+v", err, report)
	}
	awaitTrimmed(t, w, 200)
}

// auditedToTheEnd is nil when audits have come to the last entry of every stream.
func auditedToTheEnd(ctx context.Context, w *testenv.Env, auditor *consistency.Auditor) error {
	known, err := auditor.Progress().Look(ctx)
	if err != nil {
		return err
	}
	for shard := range w.Shards {
		info, err := w.Redis.XInfoStream(ctx, w.Stream(shard)).Result()
		if err != nil {
			return err
		}
		if shard >= len(known) || known[shard].UpTo.String() != info.LastGeneratedID {
			return fmt.Errorf("shard %d: the last entry is %s, audited is %+v", shard, info.LastGeneratedID,
				known)
		}
	}
	return nil
}

// TestRelaysAuditWhatTheyTrim: relays that audit by themselves die and are replaced, and the one
// that audits among them. Everything that was ever added has been compared in the end, and next to
// nothing of it is left in Redis.
func TestRelaysAuditWhatTheyTrim(t *testing.T) {
	t.Parallel()
	w := shared(t, 2)
	settings := testenv.Settings{"trim": map[string]any{"keep": "1ms", "after_audit": true}}
	hire := func() *testenv.Process {
		return w.Spawn(settings, "--set", "audit.schedule=@every 1s", "--set", "audit.settle=500ms")
	}
	working := []*testenv.Process{hire(), hire()}
	auditor, err := consistency.New(auditConfig(w))
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for round := range 4 {
		for range 5 {
			for shard := range w.Shards {
				n := scaled(t, 2000)
				w.Add(shard, n, "payload")
				total += int64(n)
			}
		}
		w.AwaitPassed(time.Minute)
		if round%2 == 0 { // otherwise an audit hardly has the time to begin
			w.Await(time.Minute, func(ctx context.Context) error { return auditedToTheEnd(ctx, w, auditor) })
		}
		// The relay that owns shard 0 audits: it is the one that dies.
		st, err := w.Status(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range working {
			if p.Instance == st.Instance {
				if err := p.Kill(); err != nil {
					t.Fatal(err)
				}
				working[i] = hire()
			}
		}
	}
	awaitTrimmed(t, w, 200)
	for _, p := range working {
		if err := p.Terminate(deadline(t, time.Minute)); err != nil {
			t.Error(err)
		}
		if err := p.Wait(deadline(t, time.Minute)); err != nil {
			t.Error(err)
		}
	}
	last, err := auditor.Run(deadline(t, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	reports, err := auditor.History(deadline(t, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range reports {
		t.Logf("audit %d: %s, %d entries, %d findings, %v", r.Run, r.Verdict, r.Entries, len(r.Findings),
			r.Incomplete)
		if n := int64(len(r.Findings)); n > r.Counts[consistency.Late] {
			t.Errorf("audit %d: %v", r.Run, r.Findings)
		}
	}
	if last.Verdict != consistency.Agree ||
		report.Coverage(last) != "complete: every entry that was ever added has been compared" {
		t.Errorf("%s, %s: %v %v", last.Verdict, report.Coverage(last), last.Findings, last.Incomplete)
	}
	if records := int64(len(w.Delivered())); records != total {
		t.Errorf("%d records of %d entries", records, total)
	}
}

// TestAuditOnAScheduleEndsAtOnce with status 0, also in the middle of an audit.
func TestAuditOnAScheduleEndsAtOnce(t *testing.T) {
	t.Parallel()
	w := shared(t, 1)
	p := w.SpawnCommand("audit", nil, "--schedule", "@every 1s", "--settle", "1h", "--log-level",
		"debug")
	ctx := deadline(t, time.Minute)
	if err := p.WaitFor(ctx, "audit begins"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.Terminate(ctx), p.Wait(ctx)); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(p.Output(), "level=ERROR") {
		t.Errorf("%s", p.Output())
	}
}
