package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluice-outbox/sluice/internal/config"
	"github.com/sluice-outbox/sluice/internal/metrics"
	"github.com/sluice-outbox/sluice/relay"
)

// relayFlags are the flags that stand for settings of the file.
var relayFlags = []struct{ name, path string }{
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

Any number of relays can run at once; they share the shards among each other. A server that does not answer is named in the
log and tried again. SIGTERM or SIGINT lets open transactions finish (relay.drain_timeout); a second one ends
the process at once, which loses and doubles nothing either.

The listener (http.listen) serves /metrics, /livez and /readyz.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.config(settingFlags(cmd.Flags())...)
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
	f.Bool("init", false, "begin at the first retained entry of a stream that may have been trimmed before")
	f.String("listen", "", "`ADDRESS` of the listener, or off")
	return cmd
}

// settingFlags gives the flags that were used, as settings.
func settingFlags(flags *pflag.FlagSet) []config.Flag {
	var used []config.Flag
	for _, f := range relayFlags {
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
	m := metrics.NewRelay(c.Outbox.Name, metrics.Build{Version: b.Version, Revision: b.Revision, Go: b.Go})
	rc.Observer, rc.Logger = m.Observer(), log
	r, err := relay.New(rc)
	if err != nil {
		return err
	}
	m.Watch(r)
	l, err := listen(c, log, m.Gatherer(), r.Ready)
	if err != nil {
		return err
	}
	log.Info("starting", "version", b.Version, "outbox", c.Outbox.Name, "delivery", c.Relay.Delivery, "redis", config.RedisName(c), "kafka", config.KafkaName(c))
	return runUntilEnd(ctx, log, r, l)
}

// runUntilEnd runs relay and listener and joins both: the relay drains first, so that its last state can still be seen.
func runUntilEnd(ctx context.Context, log *slog.Logger, r *relay.Relay, l *listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	if l == nil {
		served <- nil
	} else {
		go func() {
			err := l.serve()
			if err != nil {
				cancel() // a relay that nobody can watch is better started anew
			}
			served <- err
		}()
	}
	stop := context.AfterFunc(ctx, func() {
		log.Info("stopping: open transactions are finished first; a second signal ends at once")
	})
	err := r.Run(ctx)
	stop()
	if l != nil {
		l.close()
	}
	return errors.Join(err, <-served)
}
