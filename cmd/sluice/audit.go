package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/robfig/cron/v3"
	"github.com/spf13/cobra"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/internal/config"
)

// auditFlags are the flags of an audit.
type auditFlags struct {
	full       bool
	settle     time.Duration
	schedule   string
	rate       int
	watch      []string
	duplicates bool
	outside    bool
	shards     int
	from, to   string
	plan       string
	view       auditView
}

func newAuditCommand(a *app) *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Compare the entries in Redis with the records in Kafka",
		Long: `Compare every entry since the last audit with its record: key, payload, headers, topic, partition and order.

What was audited is kept in the topic sluice.<outbox>.audits; the next audit goes on there. An audit takes --settle at least, and twice as long
if it finds something, because a suspicion is looked at a second time before it is reported.

Exit status: 0 both sides agree; 3 they do not; 1 something could not be compared, which is listed with its reason.`,
		Example: `  sluice audit
  sluice audit --full -o json
  sluice audit --html report.html
  sluice audit --schedule "*/15 * * * *" -o jsonl
  sluice audit --outside --from 1700000000000-0 --watch "outbox.event.*"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.audit(cmd.Context(), &f) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.full, "full", false, "start over from what both sides still hold")
	flags.DurationVar(&f.settle, "settle", 30*time.Second, "how long an entry may take to Kafka")
	flags.StringVar(&f.schedule, "schedule", "", "audit for ever, at the times of this `CRON` expression (five fields, or @hourly)")
	flags.IntVar(&f.rate, "rate", 0, "most entries and records read a second; 0: no limit")
	flags.StringArrayVar(&f.watch, "watch", nil, "`PATTERN` of topics in which records may be that should not; can be repeated (default: those that begin as the route)")
	flags.BoolVar(&f.duplicates, "allow-duplicates", false, "do not call duplicates drift (default in at-least-once delivery)")
	flags.BoolVar(&f.outside, "outside", false, "compare without layout, positions and earlier audits, and remember nothing")
	flags.IntVar(&f.shards, "shards", 0, "with --outside: number of shards (default: as many as there are streams)")
	flags.StringVar(&f.from, "from", "", "with --outside: first `ENTRY`")
	flags.StringVar(&f.to, "to", "", "with --outside: last `ENTRY`")
	flags.StringVar(&f.plan, "plan", "", "write to `FILE` how what is lost could be sent again; see 'sluice repair'")
	f.view.flags(flags)
	cmd.AddCommand(newAuditHistoryCommand(a), newAuditShowCommand(a))
	return cmd
}

// auditor makes an auditor that looks as the configured relay should deliver. close ends its client of Redis.
func (a *app) auditor(f *auditFlags) (*consistency.Auditor, *config.Config, func(), error) {
	c, err := a.config()
	if err != nil {
		return nil, nil, nil, err
	}
	cfg := consistency.Config{
		Outbox: c.Outbox.Name, Route: c.Relay.Route, Format: consistency.Format(c.Relay.Format), Source: c.Relay.Source, Tombstones: c.Relay.Tombstones,
		DeadLetterTopic: c.Relay.DeadLetter.Topic, Watch: f.watch, Settle: f.settle, Full: f.full, Rate: f.rate,
		AllowDuplicates: f.duplicates || c.Relay.Delivery == "at-least-once", Outside: f.outside, Shards: f.shards, Logger: a.logger(c),
	}
	for _, x := range []struct {
		flag, text string
		into       *consistency.EntryID
	}{{"from", f.from, &cfg.From}, {"to", f.to, &cfg.To}} {
		if x.text == "" {
			continue
		}
		if *x.into, err = consistency.ParseEntryID(x.text); err != nil {
			return nil, nil, nil, usagef("--%s: %w", x.flag, err)
		}
	}
	if f.outside && f.plan != "" {
		return nil, nil, nil, usagef("--plan needs what audits remember; it cannot be used with --outside")
	}
	if !f.outside && (f.shards != 0 || f.from != "" || f.to != "") {
		return nil, nil, nil, usagef("--shards, --from and --to need --outside")
	}
	if f.settle == 0 {
		cfg.Settle = -1 // in the configuration of the library 0 is the default
	}
	if f.settle < 0 || f.rate < 0 || f.shards < 0 {
		return nil, nil, nil, usagef("--settle, --rate and --shards cannot be negative")
	}
	if cfg.Kafka, err = config.KafkaOpts(c); err != nil {
		return nil, nil, nil, err
	}
	client, err := config.RedisClient(c)
	if err != nil {
		return nil, nil, nil, err
	}
	cfg.Redis = client
	auditor, err := consistency.New(cfg)
	if err != nil {
		_ = client.Close()
		return nil, nil, nil, usagef("%w", err)
	}
	return auditor, c, func() { _ = client.Close() }, nil
}

func (a *app) audit(ctx context.Context, f *auditFlags) error {
	var times cron.Schedule
	if f.schedule != "" {
		var err error
		if times, err = parseSchedule(f.schedule); err != nil {
			return usagef("--schedule %q: %w", f.schedule, err)
		}
		if f.full || f.outside || f.plan != "" {
			return usagef("--schedule goes on where the last audit ended; it cannot be used with --full, --outside or --plan")
		}
	}
	if err := f.view.checkPage(); err != nil {
		return err
	}
	auditor, _, done, err := a.auditor(f)
	if err != nil {
		return err
	}
	defer done()
	if times == nil {
		err := a.auditOnce(ctx, auditor, &f.view)
		if f.plan == "" || ctx.Err() != nil {
			return err
		}
		if failed := a.writePlan(ctx, auditor, f.plan); failed != nil {
			return failed
		}
		return err
	}
	for {
		t := time.NewTimer(time.Until(times.Next(time.Now())))
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
		// What an audit finds is printed; the next one comes all the same.
		var threshold *thresholdError
		err := a.auditOnce(ctx, auditor, &f.view)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &threshold) || errors.Is(err, errQuiet):
		case err != nil:
			fmt.Fprintln(a.err, "sluice:", err)
		}
	}
}

// parseSchedule reads a cron expression. The parser panics on some texts, CRON_TZ= alone for example.
func parseSchedule(text string) (s cron.Schedule, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("not a cron expression")
		}
	}()
	s, err = cron.ParseStandard(text)
	if err == nil && s.Next(time.Now()).IsZero() {
		err = errors.New("it never comes")
	}
	return s, err
}

func (a *app) auditOnce(ctx context.Context, auditor *consistency.Auditor, v *auditView) error {
	r, err := auditor.Run(ctx)
	if err != nil {
		return err
	}
	status := auditStatus(r)
	if err := a.showReport(ctx, auditor, r, v); err != nil {
		if errors.Is(status, errQuiet) {
			return err
		}
		return errors.Join(status, err) // drift stays drift, shown or not
	}
	return status
}

// auditStatus gives the exit status of a report.
func auditStatus(r *consistency.Report) error {
	switch r.Verdict {
	case consistency.Agree:
		return nil
	case consistency.Drift:
		return thresholdf("the two sides do not agree")
	}
	return errQuiet
}

func newAuditHistoryCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "history",
		Short: "List the audits that are remembered",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAuditor(cmd.Context(), func(_ context.Context, _ *consistency.Auditor, reports []*consistency.Report) error {
				return a.print(reports, func(p *page) { p.auditHistory(reports) })
			})
		},
	}
}

func (p *page) auditHistory(reports []*consistency.Report) {
	if len(reports) == 0 {
		p.printf("no audit yet\n")
		return
	}
	t := newTable("RUN", "FINISHED", "VERDICT", "ENTRIES", "RECORDS", "FINDINGS", "NOT COMPARED")
	for _, r := range reports {
		t.row(strconv.FormatInt(r.Run, 10), r.Finished.UTC().Format(time.RFC3339), cell{string(r.Verdict), verdictStyles[r.Verdict]},
			strconv.FormatInt(r.Entries, 10), strconv.FormatInt(r.Records, 10), strconv.Itoa(len(r.Findings)), strconv.Itoa(len(r.Incomplete)))
	}
	p.table(t)
}

func newAuditShowCommand(a *app) *cobra.Command {
	var v auditView
	cmd := &cobra.Command{
		Use:   "show [RUN]",
		Short: "Show the report of an audit, the last one by default",
		Example: `  sluice audit show
  sluice audit show 12 --long
  sluice audit show 12 --html audit-12.html`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			run := int64(-1)
			if len(args) > 0 {
				var err error
				if run, err = strconv.ParseInt(args[0], 10, 64); err != nil || run < 1 {
					return usagef("%q is not the number of an audit", args[0])
				}
			}
			if err := v.checkPage(); err != nil {
				return err
			}
			return a.withAuditor(cmd.Context(), func(ctx context.Context, auditor *consistency.Auditor, reports []*consistency.Report) error {
				for i := len(reports) - 1; i >= 0; i-- {
					if r := reports[i]; r.Run == run || run < 0 {
						return a.showReport(ctx, auditor, r, &v)
					}
				}
				if run < 0 {
					return errors.New("no audit yet: run sluice audit")
				}
				return fmt.Errorf("audit %d is not remembered: see sluice audit history", run)
			})
		},
	}
	v.flags(cmd.Flags())
	return cmd
}

// withAuditor calls fn with the reports that are remembered.
func (a *app) withAuditor(ctx context.Context, fn func(context.Context, *consistency.Auditor, []*consistency.Report) error) error {
	auditor, c, done, err := a.auditor(&auditFlags{settle: time.Second})
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	reports, err := auditor.History(ctx)
	if err != nil {
		return unreachable(config.KafkaName(c), err)
	}
	if reports == nil {
		reports = []*consistency.Report{}
	}
	return fn(ctx, auditor, reports)
}
