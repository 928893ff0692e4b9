package consistency

import (
	"errors"
	"fmt"
	"log/slog"
	"path"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// Config of an Auditor. Zero values mean what their field says.
type Config struct {
	// Outbox is the name of the outbox. Required.
	Outbox string
	// Redis is the deployment of the outbox; watermarks are taken from its primary. Required. The
	// caller closes it.
	Redis redis.UniversalClient
	// Replica, if not nil, is where entries are read instead. A replica that lags behind the
	// watermark makes the audit incomplete.
	Replica redis.UniversalClient
	// Kafka has the options of the clients that the auditor opens: seed brokers, TLS, SASL.
	// Required.
	Kafka []kgo.Opt

	// Route, Format, Source, Tombstones and DeadLetterTopic say what the relay of the outbox is
	// told to do. Empty: DefaultRoute, Raw, "sluice/<outbox>", false, "sluice.<outbox>.dlq".
	Route           string
	Format          Format
	Source          string
	Tombstones      bool
	DeadLetterTopic string
	// Watch are patterns (as of path.Match) of topics in which records of the outbox are looked
	// for, beside those to which entries belong. Empty: every topic whose name begins as the route
	// does, up to its first field.
	Watch []string

	// Settle is how long an entry may take to Kafka, and how long after the first look the second
	// one comes. 0: 30 s; negative: no time.
	Settle time.Duration
	// Full starts over from what both sides still hold, and forgets what earlier audits found.
	Full bool
	// AllowDuplicates reports duplicates without calling them drift, for at-least-once delivery.
	AllowDuplicates bool
	// Rate bounds entries and records read a second; 0: no bound.
	Rate int
	// Effort is the share of the time in which the audit reads and compares, one piece at a time,
	// above 0 and up to 1. In the rest it waits, so that others have the servers for themselves;
	// the busier these are, the slower it becomes. 0: 1, as fast as it can. GentleEffort is for
	// audits that run all the time.
	Effort float64

	// Outside makes audits from outside; nil: ordinary ones.
	Outside *Outside

	// OnPhase is told when a phase of a run begins; nil: nobody is. The run waits for it.
	OnPhase func(Phase)
	// Logger takes a line about each run; nil: slog.Default().
	Logger *slog.Logger
}

// Outside is an audit from outside. It compares what is in the two systems without layout,
// positions and earlier audits, and remembers nothing. Every entry counts as one that should be
// there.
type Outside struct {
	// Shards of the outbox; 0: as many as there are streams.
	Shards int
	// From and To bound the entries compared, both inclusive. Zero: from the first, up to the
	// watermark.
	From, To EntryID
}

// Sizes of tiles and rounds. A round is what is compared between two savings of the state; its
// tiles and their partitions' counts are what an audit holds in memory.
const (
	tileEntries   = 8192
	roundEntries  = 32 * tileEntries // by shard
	auditWorkers  = 4
	mostSuspects  = 100_000
	defaultSettle = 30 * time.Second
)

func (c Config) withDefaults() Config {
	if c.Route == "" {
		c.Route = DefaultRoute
	}
	if c.Format == "" {
		c.Format = Raw
	}
	if c.Source == "" {
		c.Source = "sluice/" + c.Outbox
	}
	if c.DeadLetterTopic == "" {
		c.DeadLetterTopic = names.DeadLetterTopic(c.Outbox)
	}
	if c.Settle == 0 {
		c.Settle = defaultSettle
	}
	if len(c.Watch) == 0 {
		if prefix, whole := literalPrefix(c.Route); whole {
			c.Watch = []string{prefix}
		} else if prefix != "" {
			c.Watch = []string{prefix + "*"}
		}
	}
	if c.Outside != nil {
		outside := *c.Outside // the caller may change its own
		c.Outside = &outside
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func (c *Config) validate() error {
	if err := outbox.ValidateName(c.Outbox); err != nil {
		return err
	}
	if c.Redis == nil || len(c.Kafka) == 0 {
		return errors.New("consistency: Redis and Kafka are required")
	}
	if _, err := newRoute(c.Route); err != nil {
		return err
	}
	if c.Format != Raw && c.Format != CloudEventsBinary && c.Format != CloudEventsStructured {
		return fmt.Errorf("consistency: format %q, want %s, %s or %s", c.Format, Raw, CloudEventsBinary,
			CloudEventsStructured)
	}
	for _, p := range c.Watch {
		if _, err := path.Match(p, ""); err != nil {
			return fmt.Errorf("consistency: watched topic %q: %w", p, err)
		}
	}
	if c.Effort < 0 || c.Effort > 1 {
		return fmt.Errorf("consistency: Effort is %g, want 0 to 1", c.Effort)
	}
	if c.Rate < 0 || c.Outside != nil && c.Outside.Shards < 0 {
		return errors.New("consistency: Rate and Outside.Shards cannot be negative")
	}
	return nil
}
