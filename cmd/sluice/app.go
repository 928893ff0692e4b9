package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/config"
	"github.com/sluice-outbox/sluice/outbox"
)

// app is what every command shares: where it reads and writes, and the global flags. A command gets
// it in its constructor and uses nothing else of the process, so that tests run commands
// in-process.
type app struct {
	in      io.Reader
	out     io.Writer // results
	err     io.Writer // logs, questions, errors
	environ []string

	inTerminal, outTerminal, errTerminal bool

	// Global flags; see newRoot.
	file      string
	output    string
	set       []string
	logFormat string
	logLevel  string
	yes       bool
	noColor   bool

	started bool // a command began: later errors are its own
}

// config loads the configuration with the global flags and the command's own over it.
func (a *app) config(flags ...config.Flag) (*config.Config, error) {
	return config.Load(a.source(flags...))
}

func (a *app) source(flags ...config.Flag) config.Source {
	if a.logFormat != "" {
		flags = append(flags, config.Flag{
			Name: "log-format", Path: "telemetry.log.format",
			Value: a.logFormat,
		})
	}
	if a.logLevel != "" {
		flags = append(flags, config.Flag{
			Name: "log-level", Path: "telemetry.log.level",
			Value: a.logLevel,
		})
	}
	return config.Source{File: a.file, Environ: a.environ, Set: a.set, Flags: flags}
}

// logger writes to standard error as the configuration says.
func (a *app) logger(c *config.Config) *slog.Logger {
	var level slog.Level
	// the words are checked by the configuration
	_ = level.UnmarshalText([]byte(c.Telemetry.Log.Level))
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: nameSettings}
	if c.Telemetry.Log.Format == "text" || c.Telemetry.Log.Format == "auto" && a.errTerminal {
		return slog.New(slog.NewTextHandler(a.err, opts))
	}
	return slog.New(slog.NewJSONHandler(a.err, opts))
}

// nameSettings adds the names of settings to what the libraries log of their fields.
func nameSettings(_ []string, a slog.Attr) slog.Attr {
	switch v := a.Value.Any().(type) {
	case string:
		a.Value = slog.StringValue(config.NameSettings(v))
	case error:
		a.Value = slog.StringValue(config.NameSettings(v.Error()))
	}
	return a
}

// servers are the clients of a command. close ends them.
type servers struct {
	redis redis.UniversalClient
	opts  []kgo.Opt
	kafka *kgo.Client
	admin *kadm.Client
}

// connect makes the clients. It does not wait for the servers: a command says itself which one does
// not answer.
func (a *app) connect(c *config.Config, extra ...kgo.Opt) (*servers, error) {
	opts, err := config.KafkaOpts(c)
	if err != nil {
		return nil, err
	}
	r, err := config.RedisClient(c)
	if err != nil {
		return nil, err
	}
	k, err := kgo.NewClient(append(slices.Clone(opts), extra...)...)
	if err != nil {
		_ = r.Close()
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return &servers{redis: r, opts: opts, kafka: k, admin: kadm.NewClient(k)}, nil
}

func (s *servers) close() {
	s.kafka.Close()
	_ = s.redis.Close() // nothing is buffered in it
}

// pingTimeout is how long a command waits for a server's first answer before it says that there is
// none.
const pingTimeout = 5 * time.Second

// reachRedis names the server if it does not answer.
func (s *servers) reachRedis(ctx context.Context, c *config.Config) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if err := s.redis.Ping(ctx).Err(); err != nil {
		return unreachable(config.RedisName(c), err)
	}
	return nil
}

// reachKafka names the brokers if none answers.
func (s *servers) reachKafka(ctx context.Context, c *config.Config) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if err := s.kafka.Ping(ctx); err != nil {
		return unreachable(config.KafkaName(c), err)
	}
	return nil
}

func unreachable(server string, err error) error {
	hint := "is it running, and is the address right?"
	switch text := err.Error(); {
	case strings.Contains(text, "WRONGPASS"), strings.Contains(text, "NOAUTH"),
		strings.Contains(text, "SASL"), strings.Contains(text, "authenticat"):
		hint = "it answers, and refuses these credentials"
	case strings.Contains(text, "NOPERM"):
		hint = "it answers, and does not allow this user the command"
	case strings.Contains(text, "certificate"), strings.Contains(text, "tls:"):
		hint = "the TLS handshake failed: see the settings under tls"
	case strings.Contains(text, "LOADING"), strings.Contains(text, "MASTERDOWN"),
		strings.Contains(text, "CLUSTERDOWN"):
		hint = "it answers, and is not ready yet"
	}
	return fmt.Errorf("%s cannot be used (%s): %w", server, hint, err)
}

// layout reads the layout of the configured outbox.
func (s *servers) layout(ctx context.Context, c *config.Config) (outbox.Layout, error) {
	if err := s.reachRedis(ctx, c); err != nil {
		return outbox.Layout{}, err
	}
	l, err := outbox.ReadLayout(ctx, s.redis, c.Outbox.Name)
	if err != nil {
		return l, fmt.Errorf("%s: %w", config.RedisName(c), err)
	}
	return l, nil
}

// outbox is the beginning of commands that act on shards: configuration, clients, a Redis that
// answers, an outbox that exists and has these shards. The caller closes the servers.
func (a *app) outbox(cmd *cobra.Command, shards []int) (*config.Config, *servers, error) {
	c, err := a.config()
	if err != nil {
		return nil, nil, err
	}
	s, err := a.connect(c)
	if err != nil {
		return nil, nil, err
	}
	l, err := s.layout(cmd.Context(), c)
	if err != nil {
		s.close()
		return nil, nil, err
	}
	for _, shard := range shards {
		if shard < 0 || shard >= l.Shards {
			s.close()
			return nil, nil, usagef("shard %d: outbox %s has the shards 0 to %d", shard, c.Outbox.Name,
				l.Shards-1)
		}
	}
	return c, s, nil
}
