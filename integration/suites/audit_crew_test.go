//go:build integration

package suites_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/testenv"
)

// TestAuditsAgreeWhileRelaysDie: a million events are delivered while relays are killed, stopped
// past their session and replaced, and audits run all the time. One that gives deliveries longer
// than a takeover lasts agrees whenever it asks. One that gives them next to nothing may say that
// something was not delivered yet, and nothing else. At the end one from scratch has counted
// everything once.
func TestAuditsAgreeWhileRelaysDie(t *testing.T) {
	t.Parallel()
	w := shared(t, 4)
	auditing(t, w, testenv.Settings{"session_timeout": session.String()}, nil)
	n := int64(scaled(t, auditedEvents))
	full := auditConfig(w)
	full.Full = true
	if r := audit(t, full); r.Verdict != consistency.Agree || len(r.Findings) > 0 || r.Entries != n ||
		r.Records != n {
		t.Fatalf("from scratch: %s, %d entries and %d records of %d: %v %v", r.Verdict, r.Entries,
			r.Records, n, r.Findings, r.Incomplete)
	}
	if extra := countAgain(t, w, n); extra != 0 {
		t.Errorf("%d records too many", extra)
	}
}

// TestAuditsCountDuplicatesWhileRelaysDie is the same for at-least-once delivery: what is there
// twice is reported as such, drift or not as told, and an audit from scratch counts exactly the
// records that are too many.
func TestAuditsCountDuplicatesWhileRelaysDie(t *testing.T) {
	t.Parallel()
	w := shared(t, 4)
	auditing(t, w, testenv.Settings{"session_timeout": session.String(), "delivery": "at-least-once"},
		func(cfg *consistency.Config) {
			cfg.AllowDuplicates = true
		})
	n := int64(scaled(t, auditedEvents))
	extra := countAgain(t, w, n)
	full, want := auditConfig(w), consistency.Agree
	full.Full = true
	if extra > 0 {
		want = consistency.Drift
	}
	if r := audit(t, full); r.Verdict != want || r.Counts[consistency.Duplicated] != extra ||
		r.Entries != n || r.Records != n+extra {
		t.Errorf("%d duplicates are there: %s, %d entries, %d records, %v %v", extra, r.Verdict,
			r.Entries, r.Records, r.Counts, r.Incomplete)
	}
}

const auditedEvents = 1_000_000

// auditing adds events in bursts under a crew to which something happens all the time, with three
// auditors beside it, and waits until all is delivered and audited.
func auditing(t *testing.T, w *testenv.Env, s testenv.Settings, change func(*consistency.Config)) {
	t.Helper()
	random := integration.Seed(t)
	t.Cleanup(func() { discard(t, w) })
	c := newCrew(t, w, 5, random, s)
	ctx, stop := context.WithCancel(deadline(t, 10*time.Minute))
	var auditors sync.WaitGroup
	for _, settle := range []time.Duration{2 * session, 2 * session, 300 * time.Millisecond} {
		cfg := auditConfig(w)
		cfg.Settle, cfg.Logger = settle, slog.New(slog.DiscardHandler)
		if change != nil {
			change(&cfg)
		}
		moments := rand.New(rand.NewPCG(random.Uint64(), 0))
		auditors.Go(func() { auditAllTheTime(ctx, t, cfg, moments) })
	}
	const faults = 12
	events, began := scaled(t, auditedEvents), time.Now()
	bursts := 5 * faults
	for n := range bursts {
		for shard := range w.Shards {
			from, to := events*n/bursts, events*(n+1)/bursts
			w.Add(shard, (to-from)*(shard+1)/w.Shards-(to-from)*shard/w.Shards, "payload")
		}
		if n%5 == random.IntN(5) {
			c.fault()
		}
		if random.IntN(4) == 0 {
			w.AwaitPassed(2 * time.Minute)
		}
	}
	c.rest()
	if s["delivery"] == "at-least-once" {
		w.AwaitAcknowledged(3 * time.Minute)
	} else {
		w.AwaitCommitted(3 * time.Minute)
	}
	t.Logf("%d events delivered in %s", events, time.Since(began).Round(time.Second))
	stop()
	auditors.Wait()
	c.leave()
}

// auditAllTheTime audits at random moments until ctx ends.
func auditAllTheTime(ctx context.Context, t *testing.T, cfg consistency.Config, random *rand.Rand) {
	a, err := consistency.New(cfg)
	if err != nil {
		t.Error(err)
		return
	}
	runs, agreed, entries := 0, 0, int64(0)
	for ctx.Err() == nil {
		r, err := a.Run(ctx)
		if err != nil {
			break // the end
		}
		runs++
		entries += r.Entries
		switch r.Verdict {
		case consistency.Agree:
			agreed++
		case consistency.Drift:
			t.Errorf("with %s to settle, audit %d: drift", cfg.Settle, r.Run)
		}
		patient := cfg.Settle > session
		for _, f := range r.Findings {
			if f.Kind == consistency.Late && !patient ||
				f.Kind == consistency.Duplicated && cfg.AllowDuplicates {
				continue
			}
			t.Errorf("with %s to settle, audit %d found: %+v", cfg.Settle, r.Run, f)
		}
		for _, why := range r.Incomplete {
			if patient || !strings.Contains(why, "not delivered yet") {
				t.Errorf("with %s to settle, audit %d: %s", cfg.Settle, r.Run, why)
			}
		}
		select {
		case <-time.After(time.Duration(random.IntN(1000)) * time.Millisecond): // a random moment
		case <-ctx.Done():
		}
	}
	t.Logf("with %s to settle: %d audits of %d entries, %d agreed", cfg.Settle, runs, entries, agreed)
}

// countAgain counts the records without the audit's help: each of n entries has one at least. It
// returns how many are too many.
func countAgain(t *testing.T, w *testenv.Env, n int64) (extra int64) {
	t.Helper()
	ctx := deadline(t, 5*time.Minute)
	if err := integration.AwaitStable(ctx, w.KafkaDirect(), w.Topic()); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]struct{}, n)
	err := integration.ReadCommitted(ctx, w.KafkaDirect(), func(r *kgo.Record) error {
		entry := testenv.Header(r, "sluice-entry")
		if entry == "" {
			return fmt.Errorf("no header at %d/%d", r.Partition, r.Offset)
		}
		if _, twice := seen[entry]; twice {
			extra++
		}
		seen[entry] = struct{}{}
		return nil
	}, w.Topic())
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(seen)) != n {
		t.Errorf("%d of %d entries have a record", len(seen), n)
	}
	return extra
}
