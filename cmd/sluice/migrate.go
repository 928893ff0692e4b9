package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-outbox/sluice/internal/config"
	"github.com/sluice-outbox/sluice/migrations"
	"github.com/sluice-outbox/sluice/outbox"
)

// migrateTimeout bounds a whole migration: both clients go on trying for as long as they may.
const migrateTimeout = 2 * time.Minute

func newMigrateCommand(a *app) *cobra.Command {
	return group("migrate", "Create the outbox on Redis and Kafka, bring it up to date and check it",
		newMigratePlanCommand(a), newMigrateApplyCommand(a), newMigrateStatusCommand(a))
}

// migrateFlags are the flags of plan and apply.
type migrateFlags struct {
	to                int
	recreatePositions bool
	adoptPositions    bool
}

func (f *migrateFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.IntVar(&f.to, "to", migrations.Newest, "layout `VERSION` to go to")
	flags.BoolVar(&f.recreatePositions, "recreate-positions", false,
		"create the positions topic again though it was lost; each shard's position must then be set "+
			"by hand")
	flags.BoolVar(&f.adoptPositions, "adopt-positions", false,
		"go on with the positions in Kafka though this Redis has no layout, because it lost its data")
}

func newMigratePlanCommand(a *app) *cobra.Command {
	var f migrateFlags
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what 'migrate apply' would do",
		Long: `Show what exists on Redis and Kafka, what 'sluice migrate apply' would create and what
is in its way. Nothing is changed. The exit status is 1 if apply would refuse.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.migrate(cmd.Context(), f, func(ctx context.Context, m *migrations.Migrator) error {
				plan, err := m.Plan(ctx, f.to)
				if err != nil {
					return err
				}
				if err := a.print(plan, func(p *page) { p.printf("%s", written(plan)) }); err != nil {
					return err
				}
				return quietly(plan.Err())
			})
		},
	}
	f.register(cmd)
	return cmd
}

// appliedPlan is the result of `migrate apply -o json`.
type appliedPlan struct {
	migrations.Plan
	Applied bool `json:"applied"` // false if it was refused or there was nothing to do
}

func newMigrateApplyCommand(a *app) *cobra.Command {
	var f migrateFlags
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Create what is missing on Redis and Kafka",
		Long: `Create what is missing: on Redis the layout, a stream and a consumer group for each shard;
on Kafka the topics for positions and dead letters. Nothing is ever deleted or altered, so it does
not ask. It can be run again at any time, by several at once, and after it was interrupted.

It refuses what it does not know, and says what to do.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.migrate(cmd.Context(), f, func(ctx context.Context, m *migrations.Migrator) error {
				plan, err := m.Plan(ctx, f.to)
				if err != nil {
					return err
				}
				return a.applyPlan(ctx, m, plan)
			})
		},
	}
	f.register(cmd)
	return cmd
}

// applyPlan shows the plan before it begins, in text, and what became of it afterwards.
func (a *app) applyPlan(ctx context.Context, m *migrations.Migrator, plan migrations.Plan) error {
	if a.output == "text" {
		if err := a.print(nil, func(p *page) { p.printf("%s", written(plan)) }); err != nil {
			return err
		}
	}
	applied := appliedPlan{Plan: plan}
	if plan.Err() == nil {
		if err := m.Apply(ctx, plan); err != nil {
			return err
		}
		applied.Applied = plan.Todo() > 0
	}
	err := a.print(applied, func(p *page) {
		if applied.Applied {
			p.printf("\n%s\n", p.paint(green, "done"))
		}
	})
	if err != nil {
		return err
	}
	return quietly(plan.Err())
}

func newMigrateStatusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the layout version and what has drifted from it",
		Long: `Show which layout version the outbox has reached, which is the newest, and what differs
from it: a stream, a group or a topic that is missing, a topic of another shape. The exit status is
3 if anything differs or the newest version is not reached.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.migrate(cmd.Context(), migrateFlags{to: migrations.Newest},
				func(ctx context.Context, m *migrations.Migrator) error {
					status, err := m.Status(ctx)
					if err != nil {
						return err
					}
					if err := a.print(status, func(p *page) { p.printf("%s", written(status)) }); err != nil {
						return err
					}
					switch {
					case len(status.Drift) > 0:
						return thresholdf("the outbox has drifted from its layout")
					case !status.Current():
						return thresholdf("the outbox is at layout version %d of %d", status.Version, status.Newest)
					}
					return nil
				})
		},
	}
}

// migrate runs one migration command with its clients. The servers are asked for a sign of life
// first, so that the one that does not answer is named at once.
func (a *app) migrate(ctx context.Context, f migrateFlags,
	run func(context.Context, *migrations.Migrator) error,
) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	s, err := a.connect(c)
	if err != nil {
		return err
	}
	defer s.close()
	ctx, cancel := context.WithTimeout(ctx, migrateTimeout)
	defer cancel()
	if err := s.reachRedis(ctx, c); err != nil {
		return err
	}
	if f.to != 1 {
		if err := s.reachKafka(ctx, c); err != nil {
			return err
		}
	}
	m, err := migrations.New(s.redis, s.kafka, migrations.Config{
		Outbox:            c.Outbox.Name,
		Shards:            s.wantedShards(ctx, c),
		DeadLetterTopic:   c.Relay.DeadLetter.Topic,
		ReplicationFactor: c.Relay.Topics.ReplicationFactor,
		RecreatePositions: f.recreatePositions,
		AdoptPositions:    f.adoptPositions,
	})
	if err != nil {
		return err
	}
	err = run(ctx, m)
	if errors.Is(err, migrations.ErrUnknownVersion) || errors.Is(err, migrations.ErrNoWayBack) {
		return usagef("--to %d: %w", f.to, err)
	}
	return err
}

// wantedShards is the number of shards that somebody chose: in a configuration, or else when the
// outbox was created. Only for a new outbox does the default count.
func (s *servers) wantedShards(ctx context.Context, c *config.Config) int {
	if c.Origin("outbox.shards").Layer == config.FromDefault {
		// The migration itself says what is wrong with a layout that cannot be read.
		if l, err := outbox.ReadLayout(ctx, s.redis, c.Outbox.Name); err == nil &&
			l.Shards <= migrations.MaxShards {
			return l.Shards
		}
	}
	return c.Outbox.Shards
}

// quietly ends the command with exitFailed if the output has said what is wrong.
func quietly(err error) error {
	if err != nil {
		return errQuiet
	}
	return nil
}

func written(v io.WriterTo) string {
	var b strings.Builder
	_, _ = v.WriteTo(&b) // a strings.Builder does not fail
	return b.String()
}
