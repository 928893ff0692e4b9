package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/internal/admin"
	"github.com/sluice-outbox/sluice/internal/config"
	"github.com/sluice-outbox/sluice/relay"
)

func newStatusCommand(a *app) *cobra.Command {
	var limits statusLimits
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show each shard: state, owner, position, lag",
		Long: `Show each shard: its state and owner as its relay reports them, the committed position, the
lag and the age of the oldest entry that is not delivered. Where audit.schedule or
relay.trim.after_audit is set, also how far audits have come. What cannot be found out is shown as
"unknown", never as 0.

Exit status 3 when a shard is halted, or when --max-lag or --max-age is crossed or cannot be
checked.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.config()
			if err != nil {
				return err
			}
			s, err := a.connect(c)
			if err != nil {
				return err
			}
			defer s.close()
			if err := s.reachRedis(cmd.Context(), c); err != nil {
				return err
			}
			servers := s.adminServers(c)
			if servers.Audits, err = s.progress(c); err != nil {
				return err
			}
			st, err := admin.ReadStatus(cmd.Context(), servers, c.Outbox.Name)
			if err != nil {
				return fmt.Errorf("%s: %w", config.RedisName(c), err)
			}
			if err := a.print(st, func(p *page) { printStatus(p, st, time.Now()) }); err != nil {
				return err
			}
			return limits.judge(st)
		},
	}
	cmd.Flags().Int64Var(&limits.lag, "max-lag", -1, "exit with 3 when a shard lags by more `ENTRIES`")
	cmd.Flags().DurationVar(&limits.age, "max-age", -1, "exit with 3 when an entry has waited longer")
	return cmd
}

func (s *servers) adminServers(c *config.Config) admin.Servers {
	return admin.Servers{Redis: s.redis, Admin: s.admin, Kafka: s.opts, Fixed: len(c.Relay.Assign) > 0}
}

// progress is what the status asks about audits; nil where the configuration does not speak of
// them.
func (s *servers) progress(c *config.Config) (*admin.Audits, error) {
	if c.Audit.Schedule == "" && !c.Relay.Trim.AfterAudit {
		return nil, nil
	}
	cfg := config.AuditConfig(c)
	cfg.Redis, cfg.Kafka = s.redis, s.opts
	auditor, err := consistency.New(cfg)
	if err != nil {
		return nil, err
	}
	keep := time.Duration(-1)
	if c.Relay.Trim.AfterAudit {
		keep = time.Duration(c.Relay.Trim.Keep)
	}
	return &admin.Audits{Progress: auditor.Progress(), Keep: keep}, nil
}

// statusLimits are the thresholds of one status; a negative one is none.
type statusLimits struct {
	lag int64
	age time.Duration
}

// judge gives the error that ends the command. Not knowing is never fine.
func (l statusLimits) judge(st admin.Status) error {
	var crossed []string
	for _, s := range st.Shards {
		say := func(format string, args ...any) {
			crossed = append(crossed, fmt.Sprintf("shard %d: ", s.Shard)+fmt.Sprintf(format, args...))
		}
		switch s.State {
		case string(relay.StateHalted), admin.StateAbsent:
			say("%s", s.State)
		}
		if l.lag >= 0 && s.Lag == nil {
			say("lag unknown")
		} else if l.lag >= 0 && *s.Lag > l.lag {
			say("lag %d", *s.Lag)
		}
		if l.age >= 0 && s.OldestUndelivered == nil {
			say("oldest undelivered entry unknown")
		} else if l.age >= 0 && seconds(*s.OldestUndelivered) > l.age {
			say("an entry has waited %s", short(seconds(*s.OldestUndelivered)))
		}
	}
	if len(crossed) > 0 {
		return thresholdf("%s", strings.Join(crossed, "; "))
	}
	if len(st.Problems) > 0 {
		return errors.New("the status is incomplete")
	}
	return nil
}

// stateStyle is the colour of a state.
func stateStyle(state string) style {
	switch state {
	case string(relay.StateRunning):
		return green
	case string(relay.StateHalted), admin.StateAbsent:
		return red
	case string(relay.StateStarting):
		return plain
	default:
		return yellow
	}
}

func printStatus(p *page, st admin.Status, now time.Time) {
	relays := "relays unknown"
	if st.Relays != nil {
		relays = count(*st.Relays, "relay")
	}
	p.printf("outbox %s: layout %d, %s, %s\n\n", p.paint(bold, st.Outbox), st.Version,
		count(len(st.Shards), "shard"), relays)
	columns := []string{
		"SHARD", "STATE", "LAG", "OLDEST", "POSITION", "LAST ENTRY", "RETAINED",
		"OWNER",
	}
	if st.Audits {
		columns = append(columns, "AUDITED UP TO")
	}
	t := newTable(columns...)
	for _, s := range st.Shards {
		oldest := cell{"unknown", yellow}
		if s.OldestUndelivered != nil {
			oldest = cell{text: "-"}
			if *s.OldestUndelivered > 0 {
				oldest.text = short(seconds(*s.OldestUndelivered))
			}
		}
		cells := []any{
			strconv.Itoa(s.Shard),
			cell{s.State, stateStyle(s.State)},
			known(s.Lag), oldest,
			dash(s.Position), dash(s.LastEntry), known(s.Retained), dash(s.Owner),
		}
		if st.Audits {
			cells = append(cells, dash(s.Audited))
		}
		t.row(cells...)
	}
	p.table(t)
	for _, s := range st.Shards {
		if s.TrimHeld != nil {
			p.printf("\n%s trimming waits for audits since %s: see sluice audit history\n",
				p.paint(yellow, shardsText([]int{s.Shard})+":"), short(seconds(*s.TrimHeld)))
		}
	}
	for _, alike := range troubles(st.Shards) {
		printTrouble(p, alike, now)
	}
	for _, problem := range st.Problems {
		p.printf("\n%s %s\n", p.paint(red, "could not be checked:"), problem)
	}
}

// troubles groups the shards that do not run and have the same to tell.
func troubles(shards []admin.Shard) [][]admin.Shard {
	var groups [][]admin.Shard
	at := map[string]int{}
	for _, s := range shards {
		if s.State == string(relay.StateRunning) || s.Reason == "" && s.Next == "" {
			continue
		}
		same := strings.Join([]string{s.State, s.Reason, s.Next, s.Entry, s.Expected, s.Found}, "\x00")
		i, known := at[same]
		if !known {
			i = len(groups)
			at[same] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], s)
	}
	return groups
}

// printTrouble tells why shards do not run, and what to do.
func printTrouble(p *page, alike []admin.Shard, now time.Time) {
	s := alike[0]
	numbers := make([]int, len(alike))
	for i, other := range alike {
		numbers[i] = other.Shard
	}
	p.printf("\n%s: %s", shardsText(numbers), p.paint(stateStyle(s.State), s.State))
	if s.Since != nil && s.Owner != "" {
		p.printf(" since %s ago", short(now.Sub(*s.Since)))
	}
	if s.Reason != "" {
		p.printf(", %s", config.NameSettings(s.Reason))
	}
	p.printf("\n")
	for _, f := range []struct {
		name, text string
	}{{"entry", s.Entry}, {"expected", s.Expected}, {"found", s.Found}, {"run", s.Next}} {
		if f.text != "" {
			p.printf("  %-9s %s\n", f.name+":", f.text)
		}
	}
}
