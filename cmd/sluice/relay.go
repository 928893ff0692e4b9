package main

import (
	"context"
	"log/slog"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluice-outbox/sluice/internal/config"
	"github.com/sluice-outbox/sluice/internal/metrics"
	"github.com/sluice-outbox/sluice/relay"
)

// settingFlag is a flag that sets a setting of the file.
type settingFlag struct{ name, path string }

// relayFlags are the flags of a relay that stand for settings.
var relayFlags = []settingFlag{
	{"delivery", "relay.delivery"},
	{"assign", "relay.assign"},
	{"instance", "relay.instance"},
	{"init", "relay.init"},
	{"listen", "http.listen"},
}

func newRelayCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "relay",
		Short: "Deliver the events of the outbox to Kafka until stopped",
		Long: `Deliver the events of the outbox to Kafka until stopped.

Any number of relays can run at once; they share the shards among each other. A server that does not
answer is named in the log and tried again. SIGTERM or SIGINT lets open transactions finish
(relay.drain_timeout); a second one ends the process at once, which loses and doubles nothing
either.

Where audit.schedule is set, the relay that owns shard 0 audits the outbox at its times. Where
relay.trim.after_audit is set, a relay trims only what audits have compared.

The listener (http.listen) serves /metrics, /livez and /readyz.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.config(settingFlags(cmd.Flags(), relayFlags)...)
			if err != nil {
				return err
			}
			return a.runRelay(cmd.Context(), c)
		},
	}
	f := cmd.Flags()
	f.String("delivery", "", "exactly-once or at-least-once")
	f.String("assign", "", "fixed `SHARDS` of this relay, for example 0,2")
	f.String("instance", "", "`NAME` of this relay in logs and status")
	f.Bool("init", false,
		"begin at the first retained entry of a stream that may have been trimmed before")
	f.String("listen", "", "`ADDRESS` of the listener, or off")
	return cmd
}

// settingFlags gives the flags that were used, as settings.
func settingFlags(flags *pflag.FlagSet, all []settingFlag) []config.Flag {
	var used []config.Flag
	for _, f := range all {
		if flag := flags.Lookup(f.name); flag.Changed {
			used = append(used, config.Flag{Name: f.name, Path: f.path, Value: flag.Value.String()})
		}
	}
	return used
}

func (a *app) runRelay(ctx context.Context, c *config.Config) error {
	log := a.logger(c)
	slog.SetDefault(log)
	for _, name := range c.Ignored() {
		log.Warn("environment variable is no setting of sluice", "variable", name)
	}
	rc, err := config.RelayConfig(c)
	if err != nil {
		return err
	}
	if rc.Kafka, err = config.KafkaOpts(c); err != nil {
		return err
	}
	if rc.Redis, err = config.RedisClient(c); err != nil {
		return err
	}
	defer func() { _ = rc.Redis.Close() }()
	b := thisBuild()
	m := metrics.NewRelay(c.Outbox.Name,
		metrics.Build{Version: b.Version, Revision: b.Revision, Go: b.Go})
	rc.Observer, rc.Logger = m.Observer(), log
	beside, err := newBesideRelay(c, log)
	if err != nil {
		return err
	}
	defer beside.close()
	if c.Relay.Trim.AfterAudit {
		rc.Trim.Limit = beside.limit
	}
	r, err := relay.New(rc)
	if err != nil {
		return err
	}
	m.Watch(r)
	if err := beside.audit(m, r); err != nil {
		return err
	}
	l, err := listen(c, log, m.Gatherer(), r.Ready)
	if err != nil {
		return err
	}
	log.Info("starting", "version", b.Version, "outbox", c.Outbox.Name, "delivery", c.Relay.Delivery,
		"redis", config.RedisName(c), "kafka", config.KafkaName(c))
	return runUntilEnd(ctx, log, r, beside, l)
}

// runUntilEnd runs relay and listener, and the audits beside. The relay drains first, so that its
// last state can still be seen.
func runUntilEnd(ctx context.Context, log *slog.Logger, r *relay.Relay, beside *besideRelay,
	l *listener,
) error {
	return serveWhile(ctx, l, func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() {
			log.Info("stopping: open transactions are finished first; a second signal ends at once")
		})
		defer stop()
		var wg sync.WaitGroup
		defer wg.Wait()
		auditing, end := context.WithCancel(ctx)
		defer end() // if the relay ends by itself the audits end too
		wg.Go(func() { beside.run(auditing) })
		return r.Run(ctx)
	})
}
