//go:build integration

package suites_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/outbox"
)

// begun is an environment whose first entries were delivered and audited, so that audits begin
// before all faults.
func begun(t *testing.T, shards int) *carrier {
	t.Helper()
	w := shared(t, shards)
	c := newCarrier(t, w)
	for shard := range w.Shards {
		c.add(shard, 100)
		c.carry(shard, c.waiting(shard))
	}
	if r := audit(t, c.config()); r.Verdict != consistency.Agree {
		t.Fatalf("before anything was planted: %v %v", r.Findings, r.Incomplete)
	}
	return c
}

// tileEntries is the size of a tile. Those of a run begin at the point of the last one.
const tileEntries = 8192

// TestAuditFindsWhatIsPlanted: a hundred faults and more among 200,000 events, at random places, at
// the edges of tiles, at the first entry and at the watermark: each is found with its kind and its
// entry, nothing else, once; and again by an audit from scratch, and by one from outside, which
// knows neither layout nor positions.
func TestAuditFindsWhatIsPlanted(t *testing.T) {
	t.Parallel()
	c := begun(t, 4)
	random := integration.Seed(t)
	n := max(3000, scaled(t, 200_000)/c.w.Shards)
	// these need no other entry
	alone := []string{
		"lost", "doubled", "payload", "partition", "misdirected", "orphaned",
		"doubled later",
	}
	turn := random.IntN(len(faults))
	for shard := range c.w.Shards {
		c.add(shard, n)
		entries := c.waiting(shard)
		p := c.plan(shard, entries)
		for _, i := range apart(random, 25, n-200) {
			i += 70
			if e := (i + 60) % tileEntries; e < 120 {
				i += 120 // what is at the edges is planted there
			}
			turn++
			c.do(faults[turn%len(faults)], p, shard, entries, i)
		}
		for edge := tileEntries; edge < n-200; edge += tileEntries {
			c.do(alone[random.IntN(len(alone))], p, shard, entries, edge-1)
			c.do(alone[random.IntN(len(alone))], p, shard, entries, edge)
		}
		c.do(alone[(shard+turn)%len(alone)], p, shard, entries, 0)
		// an orphan above the watermark is not in the range yet
		c.do(alone[shard%3], p, shard, entries, n-1)
		c.send(p, shard, entries)
	}
	r := audit(t, c.config())
	c.compare(r)
	if r.Verdict != consistency.Drift {
		t.Errorf("verdict %s", r.Verdict)
	}
	if again := audit(t, c.config()); again.Verdict != consistency.Agree || len(again.Findings) > 0 {
		t.Errorf("reported again: %v", again.Findings)
	}
	full := c.config()
	full.Full = true
	c.compare(audit(t, full))

	outside := c.config()
	outside.Outside = &consistency.Outside{}
	c.compare(audit(t, outside))
	// Within bounds: nothing was planted among the first hundred of each shard, which come before all
	// others.
	var err error
	last := c.entries(c.w.Shards-1, "0")[99]
	if outside.Outside.To, err = outbox.ParseEntryID(last.ID); err != nil {
		t.Fatal(err)
	}
	if r := audit(t, outside); r.Verdict != consistency.Agree || r.Entries != int64(100*c.w.Shards) {
		t.Errorf("from outside, the first hundred: %s, %d entries: %v", r.Verdict, r.Entries,
			r.Findings[:min(3, len(r.Findings))])
	}
}

// TestAuditFindsWhatIsPlantedMeanwhile: the faults happen while audits run at random moments, three
// at a time, some of which are killed: together the audits find each fault, and nothing else. Two
// of them may find one at the same time, and a later one does not find it again.
func TestAuditFindsWhatIsPlantedMeanwhile(t *testing.T) {
	t.Parallel()
	c := begun(t, 4)
	random := integration.Seed(t)
	file := c.w.ConfigFile("auditor", testenv.Settings{})
	ctx, stop := context.WithCancel(deadline(t, 5*time.Minute))
	var (
		auditors sync.WaitGroup
		mu       sync.Mutex
		reports  []*consistency.Report
		killed   int
	)
	for range 3 {
		moments := rand.New(rand.NewPCG(random.Uint64(), 0))
		auditors.Go(func() {
			for ctx.Err() == nil {
				r, err := auditProcess(t, c, file, moments)
				mu.Lock()
				if r != nil {
					reports = append(reports, r)
					for _, why := range r.Incomplete {
						// An orphan may be above the last entry of its stream, until there are more.
						if !strings.Contains(why, "not delivered yet") &&
							!strings.Contains(why, "Kafka has a record of") {
							t.Errorf("audit %d: %s", r.Run, why)
						}
					}
				} else {
					killed++
				}
				mu.Unlock()
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	const batches = 20
	n := max(4000, scaled(t, 100_000)/c.w.Shards) / batches
	for turn := range batches {
		for shard := range c.w.Shards {
			c.add(shard, n)
			entries := c.waiting(shard)
			p := c.plan(shard, entries)
			c.do(faults[(turn*c.w.Shards+shard)%len(faults)], p, shard, entries, 20+random.IntN(n-120))
			c.send(p, shard, entries)
		}
		c.w.Await(time.Minute, func(context.Context) error { // so that there are audits at all times
			mu.Lock()
			defer mu.Unlock()
			if len(reports)+killed <= turn {
				return errors.New("no audit has ended since the last faults")
			}
			return nil
		})
	}
	stop()
	auditors.Wait()
	for shard := range c.w.Shards { // so that no orphan is above all entries
		c.add(shard, 1)
		c.carry(shard, c.waiting(shard))
	}
	// History has also what a killed auditor has told nobody else.
	cfg := c.config()
	reports = append(reports, audit(t, cfg))
	a, err := consistency.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := a.History(deadline(t, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d audits came to their end, %d were killed, %d are in the history", len(reports), killed,
		len(kept))
	if killed == 0 || len(reports) < 2 {
		t.Errorf("no audit was killed, or none was not")
	}
	for _, r := range reports {
		if !slices.ContainsFunc(kept, func(k *consistency.Report) bool {
			return k.Run == r.Run && k.Started.Equal(r.Started)
		}) {
			t.Errorf("audit %d of %s is not in the history: another one has replaced it", r.Run, r.Started)
		}
	}
	once := map[consistency.Finding]bool{}
	all := &consistency.Report{}
	for _, r := range append(reports, kept...) {
		for _, f := range r.Findings {
			f.Detail = "" // epochs and positions of the moment
			if !once[f] {
				once[f] = true
				all.Findings = append(all.Findings, f)
			}
		}
	}
	c.compare(all)
	if r := audit(t, cfg); r.Verdict != consistency.Agree || len(r.Findings) > 0 {
		t.Errorf("reported again: %v %v", r.Findings, r.Incomplete)
	}
}

// auditProcess runs sluice audit, with time enough for a carrier that has no transactions to send
// all of a batch, and kills it at a random moment or lets it come to its end; it returns the report
// in the latter case.
func auditProcess(t *testing.T, c *carrier, file string,
	random *rand.Rand,
) (*consistency.Report, error) {
	cmd := exec.Command(integration.BuildSluice(t), "audit", "-c", file, "-o", "json", "--settle",
		"1500ms", "--watch", c.w.Topic()+"*")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	// it may have ended
	kill := time.AfterFunc(time.Duration(random.IntN(8000))*time.Millisecond, func() {
		_ = cmd.Process.Kill()
	})
	defer kill.Stop()
	text, err := io.ReadAll(out)
	if err != nil {
		return nil, err
	}
	var status *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &status) && !status.Exited() {
		return nil, nil
	} else if err != nil && (status == nil || status.ExitCode() == 2) {
		return nil, err
	}
	r := &consistency.Report{}
	return r, json.Unmarshal(text, r)
}

// TestAuditFindsWhatIsPlantedAcrossARebalance: real relays deliver and are replaced, and somebody
// else writes into their topics: second records, records in another topic, records of no entry.
func TestAuditFindsWhatIsPlantedAcrossARebalance(t *testing.T) {
	t.Parallel()
	w := shared(t, 4)
	c := newCarrier(t, w)
	random := integration.Seed(t)
	before := w.Run(w.Config())
	var reports []*consistency.Report
	for turn := range 6 {
		for shard := range w.Shards {
			c.add(shard, scaled(t, 8000))
		}
		after := w.Run(w.Config()) // another one comes, and the earlier one leaves: shards move twice
		for shard := range w.Shards {
			entries := c.waiting(shard)
			m := entries[random.IntN(len(entries)-1)]
			c.last[shard] = entries[len(entries)-1].ID
			if turn == 0 {
				continue // audits begin here
			}
			r := c.record(shard, m)
			kind := consistency.Duplicated
			switch (turn + shard) % 3 {
			case 0:
				kind, m = consistency.Orphaned, c.never(m)
				r = c.record(shard, m)
			case 1:
				r.Topic = c.stray
			}
			w.Await(time.Minute, func(ctx context.Context) error { return c.delivered(ctx, shard) })
			c.plant(kind, shard, m.ID)
			c.produce(r)
		}
		c.flush()
		if err := before.Stop(); err != nil {
			t.Fatal(err)
		}
		before = after
		reports = append(reports, audit(t, c.config()))
	}
	for shard := range w.Shards { // so that no orphan is above all entries
		c.add(shard, 1)
	}
	w.AwaitCommitted(time.Minute)
	stable(t, w)
	c.compare(append(reports, audit(t, c.config()))...)
}

// TestAuditCountsWhatWasDeleted: entries that were deleted by hand are found by Redis's count of
// additions, with their records or without.
func TestAuditCountsWhatWasDeleted(t *testing.T) {
	t.Parallel()
	c := begun(t, 1)
	w := c.w
	c.add(0, 1000)
	entries := c.waiting(0)
	// Delivered and deleted: 3; deleted before delivery: 4, beside others that stay.
	c.carry(0, append(entries[:500:500], entries[504:]...))
	for _, i := range []int{10, 20, 30, 500, 501, 502, 503} {
		if err := w.Redis.XDel(deadline(t, time.Minute), w.Stream(0), entries[i].ID).Err(); err != nil {
			t.Fatal(err)
		}
	}
	r := audit(t, c.config())
	if r.Verdict != consistency.Drift || r.Counts[consistency.Lost] != 4 ||
		r.Counts[consistency.Unverifiable] != 3 || r.Counts[consistency.Orphaned] != 0 {
		t.Fatalf("%s: %v %v", r.Verdict, r.Counts, r.Findings)
	}
}

// TestAuditCountsWhatWasTrimmed: entries that were trimmed before they were audited are
// unverifiable if they have records, and lost if they have none.
func TestAuditCountsWhatWasTrimmed(t *testing.T) {
	t.Parallel()
	c := begun(t, 2)
	for shard := range c.w.Shards {
		c.add(shard, 1000)
		entries := c.waiting(shard)
		carried := entries
		if shard == 1 {
			carried = entries[300:]
		}
		c.carry(shard, carried)
		if err := c.w.Redis.XTrimMinID(deadline(t, time.Minute), c.w.Stream(shard),
			entries[300].ID).Err(); err != nil {
			t.Fatal(err)
		}
	}
	r := audit(t, c.config())
	if r.Verdict != consistency.Drift || r.Counts[consistency.Lost] != 300 ||
		r.Counts[consistency.Unverifiable] != 300 || len(r.Findings) != 2 {
		t.Fatalf("%s: %v %v %v", r.Verdict, r.Counts, r.Findings, r.Incomplete)
	}
	for _, f := range r.Findings {
		if f.Kind == consistency.Lost != (f.Shard == 1) || f.Count != 300 {
			t.Errorf("%+v", f)
		}
	}
	if r := audit(t, c.config()); r.Verdict != consistency.Agree || len(r.Findings) > 0 {
		t.Errorf("reported again: %v %v", r.Findings, r.Incomplete)
	}
}
