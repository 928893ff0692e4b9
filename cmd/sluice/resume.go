package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-outbox/sluice/internal/admin"
	"github.com/sluice-outbox/sluice/internal/config"
	"github.com/sluice-outbox/sluice/internal/control"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

func newResumeCommand(a *app) *cobra.Command {
	var shards []int
	var after string
	var fromStart, atEnd bool
	cmd := &cobra.Command{
		Use:   "resume",
		Short: "End a pause, or tell a halted shard from where to go on",
		Long: `End the pause of all shards, or of those named.

A halted shard needs to be told from where to go on, because nobody else can know: compare what
Redis holds with what is in Kafka
first. One of
  --after ENTRY   send what comes after this entry ID
  --from-start    send everything that Redis holds
  --at-end        send only what is appended from now on
The command shows what is sent, sent again and skipped by that, and asks. The shard's relay is
fenced and starts over.`,
		Example: "  sluice resume\n  sluice resume --shard 3 --after 1700000000000-5",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			where, move, err := parseWhere(after, fromStart, atEnd)
			if err != nil {
				return err
			}
			if move && len(shards) != 1 {
				return usagef("--after, --from-start and --at-end need one --shard")
			}
			c, s, err := a.outbox(cmd, shards)
			if err != nil {
				return err
			}
			defer s.close()
			if move {
				return a.moveShard(cmd.Context(), c, s, shards[0], where)
			}
			return a.endPause(cmd.Context(), c, s, shards)
		},
	}
	f := cmd.Flags()
	f.IntSliceVar(&shards, "shard", nil, "`SHARD` to resume; can be repeated (default all)")
	f.StringVar(&after, "after", "", "last `ENTRY` that is not to be sent, as ms-seq")
	f.BoolVar(&fromStart, "from-start", false, "send everything that Redis holds")
	f.BoolVar(&atEnd, "at-end", false, "send only what is appended from now on")
	return cmd
}

func parseWhere(after string, fromStart, atEnd bool) (w admin.Where, move bool, err error) {
	n := 0
	for _, given := range []bool{after != "", fromStart, atEnd} {
		if given {
			n++
		}
	}
	if n > 1 {
		return w, false, usagef("expected one of --after, --from-start and --at-end")
	}
	if after != "" {
		if w.After, err = outbox.ParseEntryID(after); err != nil {
			return w, false, usagef("--after: %w", err)
		}
	}
	w.AtEnd = atEnd
	return w, n == 1, nil
}

// endPause removes pauses, and says what still does not run.
func (a *app) endPause(ctx context.Context, c *config.Config, s *servers, shards []int) error {
	changed := false
	for _, shard := range orAll(shards) {
		removed, err := control.RemovePause(ctx, s.redis, c.Outbox.Name, shard)
		if err != nil {
			return err
		}
		changed = changed || removed
	}
	left, err := control.ReadPauses(ctx, s.redis, c.Outbox.Name)
	if err != nil {
		return err
	}
	result := paused{Outbox: c.Outbox.Name, Shards: shards, Changed: changed}
	if err := a.print(result, func(p *page) {
		if changed {
			p.printf("%s of outbox %s: resumed\n", shardsText(shards), c.Outbox.Name)
		} else {
			p.printf("%s of outbox %s: no such pause\n", shardsText(shards), c.Outbox.Name)
		}
		if left.All != nil {
			p.printf("all shards are still %s; to end that: sluice resume\n", left.All)
		}
		if len(shards) == 0 {
			for shard, pause := range left.Shards {
				p.printf("shard %d is still %s; to end that: sluice resume --shard %d\n", shard, pause, shard)
			}
		}
	}); err != nil {
		return err
	}
	return a.stillHalted(ctx, s, c, shards)
}

// stillHalted fails if a shard that the user wants to run is halted: ending a pause does not help
// it.
func (a *app) stillHalted(ctx context.Context, s *servers, c *config.Config, shards []int) error {
	st, err := admin.ReadStatus(ctx, s.adminServers(c), c.Outbox.Name)
	if err != nil {
		return err
	}
	wanted := map[int]bool{}
	for _, shard := range shards {
		wanted[shard] = true
	}
	for _, sh := range st.Shards {
		if sh.State == string(relay.StateHalted) && (len(shards) == 0 || wanted[sh.Shard]) {
			return fmt.Errorf("shard %d is halted and a pause is not why: %s; run: %s", sh.Shard, sh.Reason,
				sh.Next)
		}
	}
	return nil
}

// moveTimeout bounds fencing the owner and waiting for the end of its transaction.
const moveTimeout = time.Minute

// moveShard sets the position of one shard after a preview and consent.
func (a *app) moveShard(ctx context.Context, c *config.Config, s *servers, shard int,
	where admin.Where,
) error {
	if err := s.reachKafka(ctx, c); err != nil {
		return err
	}
	st, err := admin.ReadStatus(ctx, s.adminServers(c), c.Outbox.Name)
	if err != nil {
		return err
	}
	if len(st.Problems) > 0 {
		return fmt.Errorf("%s", st.Problems[0])
	}
	sh := st.Shards[shard]
	if sh.State == string(relay.StateRunning) && sh.Delivery == relay.DeliveryAtLeastOnce.String() {
		return usagef("shard %d runs with at-least-once delivery, which setting a position does not "+
			"interrupt: run sluice pause --shard %d first", shard, shard)
	}
	m, err := admin.PlanMove(ctx, s.adminServers(c), c.Outbox.Name, sh, where)
	if err != nil {
		return err
	}
	a.preview(func(p *page) { printMove(p, c.Outbox.Name, sh, m) })
	if err := a.consent(fmt.Sprintf("Let shard %d go on from there?", shard)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	if err := admin.ApplyMove(ctx, s.adminServers(c), c.Outbox.Name, m,
		"resume by "+whoami()); err != nil {
		return err
	}
	if _, err := control.RemovePause(ctx, s.redis, c.Outbox.Name, shard); err != nil {
		return err
	}
	return a.print(m, func(p *page) {
		p.printf("shard %d of outbox %s: goes on after %s\n", shard, c.Outbox.Name, m.To.Entry)
	})
}

func printMove(p *page, outboxName string, sh admin.Shard, m admin.Move) {
	p.printf("shard %d of outbox %s is %s", m.Shard, p.paint(bold, outboxName),
		p.paint(stateStyle(sh.State), sh.State))
	if sh.Reason != "" {
		p.printf(": %s", config.NameSettings(sh.Reason))
	}
	p.printf("\n")
	if sh.Expected != "" || sh.Found != "" {
		p.printf("  expected:    %s\n  found:       %s\n", sh.Expected, sh.Found)
	}
	from := "none"
	if m.FromEntry != "" {
		from = m.FromEntry
	}
	to := m.To.Entry.String()
	if m.To.Entry.IsZero() {
		to = "before the first entry"
	}
	p.printf("  position:    %s -> %s\n", from, to)
	p.printf("  to be sent:  %s", entries(m.Sends))
	if m.FirstSent != "" {
		p.printf(", the first is %s", m.FirstSent)
	}
	p.printf("\n")
	if m.SendsAgain > 0 {
		p.printf("  %s\n", p.paint(yellow,
			fmt.Sprintf("again:       %s at or below the old position: consumers may get them a second time",
				entries(m.SendsAgain))))
	}
	if m.Skips > 0 {
		p.printf("  %s\n", p.paint(red,
			fmt.Sprintf("skipped:     %s will never be sent", entries(m.Skips))))
	}
	if m.To.Fingerprint == "" && !m.To.Entry.IsZero() {
		p.printf("  %s\n", p.paint(yellow,
			"note:        no entry has this ID, so the next read has no anchor to check"))
	}
}

func entries(n int64) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}
