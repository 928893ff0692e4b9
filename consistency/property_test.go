package consistency

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// worlds are how many random worlds a property is tried on, in hundreds.
const worlds = 20

// TestCleverAgreesWithDumb holds audits, with tiles and rounds of a few entries, several runs
// and killed ones, against a checker that keeps everything in maps. Each kind of finding has to
// occur.
func TestCleverAgreesWithDumb(t *testing.T) {
	t.Parallel()
	kinds := map[Kind]int{}
	for range worlds {
		rapid.Check(t, func(t *rapid.T) {
			w := newSmallWorld(t)
			a := w.begin(t)
			stages := rapid.IntRange(1, 4).Draw(t, "stages")
			for n := range stages {
				w.stage(t, n == stages-1)
				if n == stages-1 && w.removes && !a.calls.met() &&
					len(a.reports[len(a.reports)-1].Incomplete) == 0 {
					w.remove(t) // only what no audit has read
				}
				// Most numbers are small: a run is killed at any call, or not at all, and the world
				// goes on at any.
				a.calls.at, a.calls.kill = rapid.IntRange(0, 200).Draw(t, "killed at"), true
				// Fakes cannot delete what is being read, and what is removed must be what no audit
				// has read.
				if n < stages-1 && !w.deletes && !w.removes {
					goesOn := rapid.IntRange(1, 200).Draw(t, "goes on at")
					a.calls.during = func(n int) {
						if n == goesOn {
							w.stage(t, false)
						}
					}
				}
				if _, err := a.run(); err != nil && !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
				a.calls.during = nil
			}
			a.calls.at = 0
			if _, err := a.run(); err != nil {
				t.Fatal(err)
			}
			for kind, n := range w.compare(t, a.reports) {
				kinds[kind] += n
			}
		})
	}
	t.Logf("findings by kind over all worlds: %v", kinds)
	for _, k := range Kinds {
		if kinds[k] == 0 {
			t.Errorf("no world had a finding of the kind %s: nothing is said about it", k)
		}
	}
}

// TestFailAtEveryCall makes the first call of a run fail, then the second one, and so on until a
// run succeeds; or kills the run there. No run that failed agrees, and together they find what the
// dumb checker does, once.
func TestFailAtEveryCall(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newSmallWorld(t)
		a := w.begin(t)
		w.stage(t, true)
		for a.calls.at = 1; ; a.calls.at++ {
			a.calls.kill = rapid.Bool().Draw(t, "kill")
			r, err := a.run()
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			if !a.calls.met() {
				break
			}
			if err == nil && r.Verdict == Agree {
				t.Fatalf("call %d failed, and the run agrees", a.calls.at)
			}
		}
		w.compare(t, a.reports)
	})
}

// TestAuditorsAtOnce lets another auditor run from beginning to end at any call of a first one,
// which then saves what it knows over what the other one has. Both may report the same; together
// they find what the dumb checker does, and one that begins later reports nothing twice.
func TestAuditorsAtOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newSmallWorld(t)
		a := w.begin(t)
		w.removes = false
		stages := rapid.IntRange(1, 3).Draw(t, "stages")
		var reports []*Report
		for n := range stages {
			w.stage(t, n == stages-1)
			other := *a
			other.reports, other.calls = nil, calls{}
			at := rapid.IntRange(1, 100).Draw(t, "other at")
			a.calls.during = func(n int) {
				if n != at {
					return
				}
				other.state = a.state
				if _, err := other.run(); err != nil {
					t.Fatal(err)
				}
				a.state = other.state
			}
			if _, err := a.run(); err != nil {
				t.Fatal(err)
			}
			a.calls.during = nil
			reports = append(reports, other.reports...)
			reports = append(reports, a.reports...)
			a.reports = nil
		}
		once := map[Finding]bool{}
		for _, r := range reports {
			r.Findings = slices.DeleteFunc(r.Findings, func(f Finding) bool {
				f.Detail = ""
				twice := once[f]
				once[f] = true
				return twice
			})
		}
		r, err := a.run()
		if err != nil || len(r.Findings) > 0 {
			t.Errorf("reported again: %v %v", r, err)
		}
		w.compare(t, reports)
	})
}

// begin gives an auditor for the world, which has audited the first entry of each shard.
func (w *smallWorld) begin(t *rapid.T) *auditor {
	for shard := range w.streams.shards {
		w.regular(shard, w.id(t), fmt.Sprint("first", shard), "a", "k0")
	}
	a := newAuditor(w.streams, w.logs)
	a.tileEntries = int64(rapid.IntRange(1, 5).Draw(t, "tile"))
	a.roundEntries = a.tileEntries * int64(rapid.IntRange(1, 3).Draw(t, "round"))
	a.waits = func(n int) {
		if n > 1 { // the first wait is the settling time
			w.release()
		}
	}
	if r, err := a.run(); err != nil || r.Verdict != Agree {
		t.Fatal(r, err)
	}
	return a
}

// compare holds what audits have reported against what the dumb checker sees at the end. It counts
// the findings by kind.
func (w *smallWorld) compare(t *rapid.T, reports []*Report) map[Kind]int {
	want, wantGone := dumb(w.streams, w.logs, "dlq")
	got := map[dumbKey]bool{}
	gotGone := map[int]int64{}
	kinds := map[Kind]int{}
	late := map[EntryID]bool{}
	for _, r := range reports {
		for _, why := range r.Incomplete {
			if !strings.Contains(why, "not delivered yet") && !strings.Contains(why, "retention") &&
				!strings.Contains(why, "Kafka has a record of") && !strings.Contains(why, errBroken.Error()) {
				t.Fatalf("incomplete: %s", why)
			}
		}
		for _, f := range r.Findings {
			kinds[f.Kind]++
			if !f.Last.IsZero() && (f.Kind == Lost || w.removes && f.Kind == Unverifiable) {
				gotGone[f.Shard] += f.Count
				continue
			}
			if f.Kind == Late && !f.Last.IsZero() {
				continue // what was queued came before the second wait
			}
			if f.Kind == Late { // or nothing, if the run was killed before it had looked
				if !w.late[f.Entry] || late[f.Entry] {
					t.Errorf("found late, and is not, or twice: %s", f.Entry)
				}
				late[f.Entry] = true
				continue
			}
			k := dumbKey{f.Kind, f.Shard, f.Entry, f.Topic, f.Partition, f.Offset}
			if got[k] {
				t.Errorf("reported twice: %s", k)
			}
			got[k] = true
		}
	}
	t.Log(w)
	for k := range want {
		if k.kind == undecided {
			k.kind = Lost
			if got[k] {
				delete(got, k)
				continue
			}
			k.kind = Unverifiable
			if got[k] {
				delete(got, k)
				continue
			}
		}
		if !got[k] {
			t.Errorf("not found: %s", k)
		}
	}
	for k := range got {
		if !want[k] {
			t.Errorf("found, and is not there: %s", k)
		}
	}
	if fmt.Sprint(gotGone) != fmt.Sprint(wantGone) {
		t.Errorf("gone by number: %v, want %v", gotGone, wantGone)
	}
	return kinds
}
