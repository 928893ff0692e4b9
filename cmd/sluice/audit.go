package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/internal/config"
	"github.com/sluice-outbox/sluice/outbox"
)

// auditFlags are the flags of an audit that are not settings.
type auditFlags struct {
	full     bool
	outside  bool
	topics   []string
	shards   int
	from, to string
	plan     string
	view     auditView

	scheduled bool // --schedule is set
}

// auditSettings are the flags of an audit that stand for settings of the file.
var auditSettings = []settingFlag{
	{"schedule", "audit.schedule"},
	{"settle", "audit.settle"},
	{"rate", "audit.rate"},
	{"effort", "audit.effort"},
	{"watch", "audit.watch"},
	{"replica", "audit.replica"},
	{"on-duplicate", "audit.on_duplicate"},
	{"listen", "http.listen"},
}

func newAuditCommand(a *app) *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Compare the entries in Redis with the records in Kafka",
		Long: `Compare every entry since the last audit with its record: key, payload, headers, topic,
partition and order.

What was audited is kept in the topic sluice.<outbox>.audits; the next audit goes on there. An audit
takes --settle at least, and twice as long if it finds something, because a suspicion is looked at a
second time before it is reported.

With --schedule it audits for ever, at the times of audit.schedule or of CRON: five fields, @hourly,
or @every 15m. A time that comes while an audit is running is skipped. The listener (http.listen)
serves /metrics, /livez and /readyz. SIGTERM ends it at once; the next audit goes on at the same
place. 'sluice relay' audits by itself where audit.schedule is set.

The section audit of the configuration has the defaults of the flags.

Exit status: 0 both sides agree; 3 they do not; 1 something could not be compared, which is listed
with its reason.`,
		Example: `  sluice audit
  sluice audit --full -o json
  sluice audit --html report.html
  sluice audit --schedule
  sluice audit --schedule "*/15 * * * *" -o jsonl
  sluice audit --topics "outbox.event.*" --from 1700000000000-0`,
		Args: cobra.ArbitraryArgs, // audit says what is wrong with them
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := scheduleArgument(cmd.Flags(), args); err != nil {
				return err
			}
			used, err := auditSettingFlags(cmd.Flags())
			if err != nil {
				return err
			}
			if len(f.topics) > 0 {
				if cmd.Flags().Changed("watch") {
					return usagef("--topics is the same as --outside --watch: leave --watch out")
				}
				f.outside = true
			}
			if cmd.Flags().Changed("schedule") {
				return a.auditForEver(cmd.Context(), &f, used)
			}
			if cmd.Flags().Changed("listen") {
				return usagef("--listen goes with --schedule: one audit has no listener")
			}
			return a.audit(cmd.Context(), &f, used)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.full, "full", false, "start over from what both sides still hold")
	flags.Duration("settle", 0, "how long an entry may take to Kafka (default: audit.settle)")
	flags.String("schedule", "",
		"audit for ever, at the times of this `CRON` expression (without one: audit.schedule)")
	flags.Lookup("schedule").NoOptDefVal = configuredSchedule
	flags.Int("rate", 0, "most entries and records read a second; 0: no limit (default: audit.rate)")
	flags.Int("effort", 0,
		"`PERCENT` of the time in which it reads and compares (default: audit.effort; 20 with "+
			"--schedule, else 100)")
	flags.StringSlice("watch", nil,
		"`PATTERN` of topics in which records may be that should not; can be repeated (default: "+
			"audit.watch)")
	flags.String("replica", "",
		"`URL` of a Redis replica to read entries from (default: audit.replica)")
	flags.String("on-duplicate", "",
		"what a second record is, `drift or report` (default: audit.on_duplicate)")
	flags.String("listen", "",
		"with --schedule: `ADDRESS` of the listener, or off (default: http.listen)")
	flags.BoolVar(&f.outside, "outside", false,
		"compare without layout, positions and earlier audits, and remember nothing")
	flags.StringSliceVar(&f.topics, "topics", nil,
		"`PATTERN` of topics: the same as --outside --watch PATTERN; can be repeated")
	flags.IntVar(&f.shards, "shards", 0,
		"with --outside: number of shards (default: as many as there are streams)")
	flags.StringVar(&f.from, "from", "", "with --outside: first `ENTRY`")
	flags.StringVar(&f.to, "to", "", "with --outside: last `ENTRY`")
	flags.StringVar(&f.plan, "plan", "",
		"write to `FILE` how what is lost could be sent again; see 'sluice repair'")
	f.view.flags(flags)
	cmd.AddCommand(newAuditHistoryCommand(a), newAuditShowCommand(a))
	return cmd
}

// audits is what a command that audits works with.
type audits struct {
	*consistency.Auditor
	config *config.Config
	log    *slog.Logger
	close  func() // ends the clients of Redis
}

// auditor makes an auditor for what the configured relay should deliver. The caller closes it.
func (a *app) auditor(f *auditFlags, settings ...config.Flag) (*audits, error) {
	c, err := a.config(settings...)
	if err != nil {
		return nil, err
	}
	cfg := config.AuditConfig(c)
	if f.scheduled {
		cfg = config.ScheduledAuditConfig(c)
	}
	cfg.Full = f.full
	outside := consistency.Outside{Shards: f.shards}
	if len(f.topics) > 0 {
		cfg.Watch = f.topics
	}
	for _, x := range []struct {
		flag, text string
		into       *outbox.EntryID
	}{{"from", f.from, &outside.From}, {"to", f.to, &outside.To}} {
		if x.text == "" {
			continue
		}
		if !strings.Contains(x.text, "-") { // Redis reads a last ID without one as the whole millisecond
			return nil, usagef("--%s: %q: want <milliseconds>-<sequence>", x.flag, x.text)
		}
		if *x.into, err = outbox.ParseEntryID(x.text); err != nil {
			return nil, usagef("--%s: %w", x.flag, err)
		}
	}
	if f.outside && f.plan != "" {
		return nil, usagef("--plan needs what audits remember; it cannot be used with --outside")
	}
	if !f.outside && (f.shards != 0 || f.from != "" || f.to != "") {
		return nil, usagef("--shards, --from and --to need --topics or --outside")
	}
	if f.shards < 0 {
		return nil, usagef("--shards cannot be negative")
	}
	if f.outside {
		cfg.Outside = &outside
	}
	return newAudits(c, cfg, a.logger(c))
}

// newAudits makes an auditor with clients of its own.
func newAudits(c *config.Config, cfg consistency.Config, log *slog.Logger) (_ *audits, err error) {
	var clients []redis.UniversalClient
	done := func() {
		for _, client := range clients {
			_ = client.Close() // nothing is buffered in it
		}
	}
	defer func() {
		if err != nil {
			done()
		}
	}()
	if cfg.Kafka, err = config.KafkaOpts(c); err != nil {
		return nil, err
	}
	if cfg.Redis, err = config.RedisClient(c); err != nil {
		return nil, err
	}
	clients = append(clients, cfg.Redis)
	if cfg.Replica, err = config.ReplicaClient(c); err != nil {
		return nil, err
	}
	if cfg.Replica != nil {
		clients = append(clients, cfg.Replica)
	}
	cfg.Logger = log
	auditor, err := consistency.New(cfg)
	if err != nil {
		return nil, usagef("%w", err)
	}
	return &audits{auditor, c, log, done}, nil
}

func (a *app) audit(ctx context.Context, f *auditFlags, settings []config.Flag) error {
	if err := f.view.checkPage(); err != nil {
		return err
	}
	auditor, err := a.auditor(f, settings...)
	if err != nil {
		return err
	}
	defer auditor.close()
	err = a.auditOnce(ctx, auditor.Auditor, &f.view)
	if f.plan == "" || ctx.Err() != nil {
		return err
	}
	if failed := a.writePlan(ctx, auditor.Auditor, f.plan); failed != nil {
		return failed
	}
	return err
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
		return errors.Join(status, err) // drift stays drift, even if it could not be printed
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
			return a.withAuditor(cmd.Context(),
				func(_ context.Context, _ *consistency.Auditor, reports []*consistency.Report) error {
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
		t.row(strconv.FormatInt(r.Run, 10), r.Finished.UTC().Format(time.RFC3339),
			cell{string(r.Verdict), verdictStyles[r.Verdict]},
			strconv.FormatInt(r.Entries, 10), strconv.FormatInt(r.Records,
				10), strconv.Itoa(len(r.Findings)), strconv.Itoa(len(r.Incomplete)))
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
			return a.withAuditor(cmd.Context(),
				func(ctx context.Context, auditor *consistency.Auditor, reports []*consistency.Report) error {
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
func (a *app) withAuditor(ctx context.Context,
	fn func(context.Context, *consistency.Auditor, []*consistency.Report) error,
) error {
	auditor, err := a.auditor(&auditFlags{})
	if err != nil {
		return err
	}
	defer auditor.close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	reports, err := auditor.History(ctx)
	if err != nil {
		return unreachable(config.KafkaName(auditor.config), err)
	}
	if reports == nil {
		reports = []*consistency.Report{}
	}
	return fn(ctx, auditor.Auditor, reports)
}
