package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-outbox/sluice/consistency"
)

func newRepairCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "repair FILE",
		Short: "Send entries again that audits have found lost, as a plan of 'sluice audit --plan' says",
		Long: `Send entries again that audits have found lost, as the plan in FILE says: in their order,
in one Kafka transaction, each record marked by the header sluice-repair. Nothing is ever deleted
from Kafka. The records come after later ones of their keys: consumers have to bear that.

Before anything is sent, the plan is compared with both sides: an entry that is gone or another one,
or that has a record by now, makes the whole plan void. The plan is shown, and the command asks, or
takes --yes. The next audit accepts exactly what was sent.`,
		Example: "  sluice audit --plan repair.json\n  sluice repair repair.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			plan, err := readPlan(args[0])
			if err != nil {
				return err
			}
			return a.repair(cmd.Context(), plan)
		},
	}
}

func readPlan(file string) (*consistency.Plan, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, usagef("%w", err)
	}
	plan := &consistency.Plan{}
	if err := json.Unmarshal(text, plan); err != nil {
		return nil, usagef("%s is not a plan of 'sluice audit --plan': %w", file, err)
	}
	if plan.V != 1 {
		return nil, usagef(
			"%s is not a plan of 'sluice audit --plan', or one of another version of sluice", file)
	}
	return plan, nil
}

// repairResult is what `repair -o json` prints.
type repairResult struct {
	Outbox string `json:"outbox"`
	Sent   int    `json:"sent"`
}

func (a *app) repair(ctx context.Context, plan *consistency.Plan) error {
	auditor, err := a.auditor(&auditFlags{})
	if err != nil {
		return err
	}
	defer auditor.close()
	if name := auditor.config.Outbox.Name; plan.Outbox != name {
		return usagef("the plan is of outbox %q, the configuration names %q", plan.Outbox, name)
	}
	a.preview(func(p *page) { p.plan(plan) })
	if len(plan.Send) > 0 {
		if err := a.consent(fmt.Sprintf("Send %d records?", len(plan.Send))); err != nil {
			return err
		}
	}
	sent, err := auditor.Repair(ctx, plan)
	if err != nil {
		return err
	}
	return a.print(repairResult{plan.Outbox, sent}, func(p *page) {
		p.printf("%d records sent; the next audit compares them\n", sent)
	})
}

// fewSends are shown of a plan; the file has all.
const fewSends = 50

func (p *page) plan(plan *consistency.Plan) {
	p.printf("Plan for %s, made at %s after audit %d: %d entries to send again\n", plan.Outbox,
		plan.Made.Format(time.RFC3339), plan.Run, len(plan.Send))
	if len(plan.Send) > 0 {
		t := newTable("SHARD", "ENTRY", "EVENT", "TO")
		for _, s := range plan.Send[:min(fewSends, len(plan.Send))] {
			t.row(strconv.Itoa(s.Shard), s.Entry.String(), s.ID, s.Topic+"/"+strconv.Itoa(int(s.Partition)))
		}
		p.table(t)
		if more := len(plan.Send) - fewSends; more > 0 {
			p.printf("… and %d more\n", more)
		}
	}
	for _, why := range plan.Cannot {
		p.printf("cannot be sent again: %s\n", why)
	}
}

// writePlan writes the plan for everything that audits have found lost. It does not overwrite a
// file.
func (a *app) writePlan(ctx context.Context, auditor *consistency.Auditor, file string) error {
	plan, err := auditor.Plan(ctx)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(plan, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return usagef("%s is there already; remove it first, or name another file", file)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	a.preview(func(p *page) {
		p.plan(plan)
		p.printf("written to %s; next: sluice repair %s\n", file, file)
	})
	return nil
}
