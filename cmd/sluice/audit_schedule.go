package main

import (
	"context"
	"log/slog"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/internal/auditing"
	"github.com/sluice-outbox/sluice/internal/config"
	"github.com/sluice-outbox/sluice/internal/metrics"
)

// configuredSchedule is the value of --schedule without one.
const configuredSchedule = "that of the configuration"

// scheduleArgument gives --schedule the argument after it. pflag accepts an optional value only
// after an equals sign, which nobody expects.
func scheduleArgument(flags *pflag.FlagSet, args []string) error {
	value := flags.Lookup("schedule").Value
	switch {
	case len(args) == 0:
		return nil
	case value.String() != configuredSchedule:
		return usagef("unknown argument %q", args[0])
	case len(args) > 1:
		return usagef("--schedule: write the expression in quotes, such as --schedule \"*/15 * * * *\"")
	}
	return value.Set(args[0])
}

// auditSettingFlags gives the flags that were used, as settings.
func auditSettingFlags(flags *pflag.FlagSet) ([]config.Flag, error) {
	settle, err := flags.GetDuration("settle")
	if err != nil {
		return nil, err
	}
	rate, err := flags.GetInt("rate")
	if err != nil {
		return nil, err
	}
	if settle < 0 || rate < 0 {
		return nil, usagef("--settle and --rate cannot be negative")
	}
	var used []config.Flag
	for _, f := range settingFlags(flags, auditSettings) {
		switch f.Name {
		case "schedule":
			if f.Value == configuredSchedule {
				continue
			}
		case "watch":
			patterns, err := flags.GetStringSlice("watch")
			if err != nil {
				return nil, err
			}
			f.Value = strings.Join(patterns, ",")
		}
		used = append(used, f)
	}
	return used, nil
}

// auditForEver audits at the times of the schedule until ctx ends.
func (a *app) auditForEver(ctx context.Context, f *auditFlags, settings []config.Flag) error {
	if f.full || f.outside || f.plan != "" {
		return usagef("--schedule goes on where the last audit ended; it cannot be used with --full, " +
			"--outside or --plan")
	}
	if err := f.view.checkPage(); err != nil {
		return err
	}
	f.scheduled = true
	auditor, err := a.auditor(f, settings...)
	if err != nil {
		return err
	}
	defer auditor.close()
	c := auditor.config
	if c.Audit.Schedule == "" {
		return usagef("--schedule: the configuration has no audit.schedule: set it, or give a time " +
			"such as --schedule \"*/15 * * * *\"")
	}
	slog.SetDefault(auditor.log)
	b := thisBuild()
	m := metrics.NewAudits(c.Outbox.Name,
		metrics.Build{Version: b.Version, Revision: b.Revision, Go: b.Go})
	service, err := auditor.service(m)
	if err != nil {
		return err
	}
	service.Done = func(r *consistency.Report) {
		if err := a.showReport(ctx, auditor.Auditor, r, &f.view); err != nil {
			auditor.log.Error("the report cannot be printed", "error", err)
		}
	}
	l, err := listen(c, auditor.log, m.Gatherer(), service.Ready)
	if err != nil {
		return err
	}
	return serveWhile(ctx, l, func(ctx context.Context) error {
		service.Run(ctx)
		return nil
	})
}

// service makes the service that audits at the times of audit.schedule.
func (a *audits) service(m *metrics.Audits) (*auditing.Service, error) {
	times, err := auditing.ParseSchedule(a.config.Audit.Schedule)
	if err != nil {
		return nil, a.config.Problemf("audit.schedule", "%v", err)
	}
	return &auditing.Service{
		Auditor: a.Auditor, Schedule: times, Metrics: m,
		Logger: a.log.With("outbox", a.config.Outbox.Name),
	}, nil
}
