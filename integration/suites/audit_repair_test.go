//go:build integration

package suites_test

import (
	"errors"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/consistency"
)

// TestAuditAcceptsARepair: what was lost is sent again by a plan; the next audit and one from
// scratch accept it, and the plan cannot be used a second time, nor one whose entry is another one
// by now.
func TestAuditAcceptsARepair(t *testing.T) {
	t.Parallel()
	_, c := audited(t)
	c.add(0, 300)
	entries := c.waiting(0)
	c.carry(0, entries[:100])
	c.carry(0, entries[103:]) // three are lost
	if r := audit(t, c.config()); r.Counts[consistency.Lost] != 3 || len(r.Findings) != 3 {
		t.Fatalf("%v", r.Findings)
	}
	a, err := consistency.New(c.config())
	if err != nil {
		t.Fatal(err)
	}
	ctx := deadline(t, time.Minute)
	plan, err := a.Plan(ctx)
	if err != nil || len(plan.Send) != 3 || len(plan.Cannot) != 0 ||
		plan.Send[0].Entry.String() != entries[100].ID {
		t.Fatalf("%+v %v", plan, err)
	}
	edited := *plan
	edited.Send = append([]consistency.PlanItem(nil), plan.Send...)
	edited.Send[1].Hash = "0"
	if n, err := a.Repair(ctx, &edited); n != 0 || !errors.Is(err, consistency.ErrPlanStale) {
		t.Fatalf("an entry that is another one: %d %v", n, err)
	}
	if n, err := a.Repair(ctx, plan); n != 3 || err != nil {
		t.Fatalf("%d %v", n, err)
	}
	if n, err := a.Repair(ctx, plan); n != 0 || !errors.Is(err, consistency.ErrPlanStale) {
		t.Fatalf("a second time: %d %v", n, err)
	}
	stable(t, c.w)
	if r := audit(t, c.config()); r.Verdict != consistency.Agree || r.Repaired != 3 ||
		len(r.Findings) != 0 {
		t.Fatalf("%s: %d %v", r.Verdict, r.Repaired, r.Findings)
	}
	if plan, err := a.Plan(ctx); err != nil || len(plan.Send) != 0 {
		t.Fatalf("%+v %v", plan, err)
	}
	full := c.config()
	full.Full = true
	if r := audit(t, full); r.Verdict != consistency.Agree || r.Repaired != 3 {
		t.Fatalf("from scratch: %s: %d %v", r.Verdict, r.Repaired, r.Findings)
	}
}
