package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/internal/options"
	"github.com/sluice-outbox/sluice/outbox"
)

// Reason is why an entry could not be delivered.
type Reason string

// The reasons, as the header sluice-reason and the label of the metric have them.
const (
	ReasonUndecodable  Reason = "undecodable"   // not an event of the wire format
	ReasonTooLarge     Reason = "too_large"     // the topic's max.message.bytes forbids it
	ReasonNoRoute      Reason = "no_route"      // the route gives no valid topic name
	ReasonUnknownTopic Reason = "unknown_topic" // the topic does not exist and is not to be created
	ReasonRejected     Reason = "rejected"      // the broker refuses this very record
)

// DeadLetter says what becomes of entries that cannot be delivered.
type DeadLetter struct {
	// Topic takes them; empty: sluice.<outbox>.dlq.
	Topic string
	// On lists the reasons that dead-letter an entry; any other reason halts its shard before it.
	// nil: undecodable, too_large, no_route and rejected. Empty but not nil: every reason halts.
	On []Reason
}

// Topics says what becomes of entries whose topic does not exist or has changed.
type Topics struct {
	OnUnknown UnknownTopicPolicy
	// Partitions of a created topic; 0: as many as the outbox has shards, so that shards write
	// disjoint partitions.
	Partitions int
	// ReplicationFactor of a created topic; 0: the broker's default.
	ReplicationFactor int
	// OnChanged says what happens when a topic was deleted and created again, or given partitions,
	// while this relay runs. The relay notices within about a minute.
	OnChanged TopicChangePolicy
}

// Trim says how long delivered entries stay in Redis. An entry that Kafka has not confirmed is
// never trimmed.
type Trim struct {
	// Keep is the least age of a trimmed entry, by its entry ID; 0: one hour; negative: never trim.
	Keep time.Duration
	// Limit, if not nil, is asked before each trim of a shard for the last entry that may go: what was
	// audited, or copied elsewhere. What comes after it stays, whatever its age. An error or 0-0,
	// which is "not known", lets nothing be trimmed. It is called by all shards at the pace of
	// housekeeping, which waits for it: answer from memory. A limit that moves back brings nothing
	// back.
	Limit func(ctx context.Context, shard int) (outbox.EntryID, error)
}

// Config of a Relay. Each field says what its zero value means.
type Config struct {
	// Outbox is the name of the outbox. Required.
	Outbox string
	// Redis is the deployment of the outbox. Required. It must read from masters (no ReadOnly, no
	// RouteByLatency). Its pool should hold two connections a shard, and its ReadTimeout must be above
	// one second. The caller closes it.
	Redis redis.UniversalClient
	// Kafka has the options of every Kafka client that the relay opens: seed brokers, TLS, SASL,
	// dialer, compression. Required. The relay adds its own after them.
	Kafka []kgo.Opt

	Delivery Delivery
	// Route is a text/template for the topic over AggregateType, AggregateID, Type, Key and
	// ContentType; the function header gives a header: {{header "tenant"}}. Empty:
	// "outbox.event.{{.AggregateType}}".
	Route  string
	Format Format
	// Source is the CloudEvents source; empty: "sluice/<outbox>".
	Source string
	// Tombstones turns an empty payload into a Kafka null value.
	Tombstones bool

	DeadLetter DeadLetter
	Topics     Topics
	OnMismatch MismatchPolicy
	Trim       Trim

	// Lanes is how many lanes carry the shards that are well, each with one transaction at a time; 0:
	// 1, at most 64. More lanes help where brokers and cores are many.
	Lanes int
	// Linger is the least time between the beginnings of two transactions of a lane; 0: none, at most
	// 1 s. A longer one costs latency and spares the brokers.
	Linger time.Duration
	// MaxEntries and MaxBytes bound one Kafka transaction; 0: 10,000 entries, 16 MiB. One group of
	// entries of the same MULTI/EXEC is not cut unless it is larger than MaxBytes.
	MaxEntries int
	MaxBytes   int
	// MaxInFlight bounds the bytes that this relay holds for all its shards between Redis and Kafka;
	// 0: 32 MiB.
	MaxInFlight int

	// TransactionTimeout is when the broker aborts a transaction of a dead relay; until then
	// read_committed readers of its partitions wait. 0: 10 s.
	TransactionTimeout time.Duration
	// SessionTimeout is when Kafka's group coordinator gives a silent relay's shards to others. 0: 6
	// s, the least that brokers accept by default.
	SessionTimeout time.Duration
	// HousekeepingInterval is how often a shard mirrors its position, trims, and reads and writes
	// control and status. 0: 1 s.
	HousekeepingInterval time.Duration
	// DrainTimeout is how long a shard that is told to stop may take to finish its open transaction.
	// 0: 10 s.
	DrainTimeout time.Duration

	// Assign fixes the shards of this relay instead of leaving them to Kafka's group coordinator.
	Assign []int
	// Init allows the first start of a shard whose stream may have been trimmed before. Delivery
	// begins at its first retained entry. Without Init such a shard halts.
	Init bool

	// Instance names this relay in logs, status and positions; empty: host, process id and a random
	// part.
	Instance string
	// Logger takes one line a state change; nil: slog.Default().
	Logger *slog.Logger
	// Observer has functions that are called as things happen; nil: none.
	Observer *Observer
}

// withDefaults returns a copy in which every zero value is replaced by what it means.
func (c Config) withDefaults() Config {
	if c.Route == "" {
		c.Route = "outbox.event.{{.AggregateType}}"
	}
	if c.Source == "" {
		c.Source = "sluice/" + c.Outbox
	}
	if c.DeadLetter.Topic == "" {
		c.DeadLetter.Topic = names.DeadLetterTopic(c.Outbox)
	}
	if c.DeadLetter.On == nil {
		c.DeadLetter.On = []Reason{ReasonUndecodable, ReasonTooLarge, ReasonNoRoute, ReasonRejected}
	}
	c.DeadLetter.On = slices.Clone(c.DeadLetter.On)
	c.Assign = slices.Clone(c.Assign)
	if c.Topics.OnUnknown == UnknownTopicDeadLetter &&
		!slices.Contains(c.DeadLetter.On, ReasonUnknownTopic) {
		c.DeadLetter.On = append(c.DeadLetter.On, ReasonUnknownTopic)
	}
	options.Default(&c.Trim.Keep, time.Hour)
	options.Default(&c.MaxEntries, 10_000)
	options.Default(&c.MaxBytes, 16<<20)
	options.Default(&c.MaxInFlight, 32<<20)
	options.Default(&c.Lanes, 1)
	options.Default(&c.TransactionTimeout, 10*time.Second)
	options.Default(&c.SessionTimeout, 6*time.Second)
	options.Default(&c.HousekeepingInterval, time.Second)
	options.Default(&c.DrainTimeout, 10*time.Second)
	if c.Instance == "" {
		c.Instance = options.Instance("relay")
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Observer == nil {
		c.Observer = &Observer{}
	}
	return c
}

// validate reports every mistake at once.
func (c Config) validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("relay: "+format, args...))
	}
	if err := outbox.ValidateName(c.Outbox); err != nil {
		errs = append(errs, err)
	}
	if c.Redis == nil {
		bad("Config.Redis is required")
	}
	if len(c.Kafka) == 0 {
		bad("Config.Kafka is required: at least kgo.SeedBrokers")
	}
	if err := kgo.ValidateOpts(c.Kafka...); err != nil {
		bad("Config.Kafka: %w", err)
	}
	for _, choice := range []struct {
		name  string
		value int
		names []string
	}{
		{"Delivery", int(c.Delivery), deliveryNames},
		{"Format", int(c.Format), formatNames},
		{"OnMismatch", int(c.OnMismatch), mismatchNames},
		{"Topics.OnUnknown", int(c.Topics.OnUnknown), unknownTopicNames},
		{"Topics.OnChanged", int(c.Topics.OnChanged), topicChangeNames},
	} {
		if choice.value < 0 || choice.value >= len(choice.names) {
			bad("%s %d is none of %s", choice.name, choice.value, strings.Join(choice.names, ", "))
		}
	}
	for _, r := range c.DeadLetter.On {
		switch r {
		case ReasonUndecodable, ReasonTooLarge, ReasonNoRoute, ReasonRejected:
		case ReasonUnknownTopic:
			if c.Topics.OnUnknown != UnknownTopicDeadLetter {
				bad("DeadLetter.On has unknown_topic, Topics.OnUnknown is %s: set it to dead_letter",
					c.Topics.OnUnknown)
			}
		default:
			bad("unknown reason %q in DeadLetter.On: want undecodable, too_large, no_route, "+
				"unknown_topic or rejected", r)
		}
	}
	if err := names.ValidateDeadLetterTopic(c.Outbox, c.DeadLetter.Topic); err != nil {
		bad("DeadLetter.Topic %q cannot take dead letters: %v", c.DeadLetter.Topic, err)
	}
	for _, bound := range []struct {
		name        string
		value       int64
		least, most int64
	}{
		{"Lanes", int64(c.Lanes), 1, 64},
		{"Linger", int64(c.Linger), 0, int64(time.Second)},
		{"MaxEntries", int64(c.MaxEntries), 1, math.MaxInt32},
		{"MaxBytes", int64(c.MaxBytes), 1, math.MaxInt32},
		{"MaxInFlight", int64(c.MaxInFlight), 1, math.MaxInt64},
		{
			"TransactionTimeout", int64(c.TransactionTimeout), int64(time.Second),
			math.MaxInt32 * int64(time.Millisecond),
		},
		{
			"SessionTimeout", int64(c.SessionTimeout), int64(100 * time.Millisecond),
			math.MaxInt32 * int64(time.Millisecond),
		},
		{"HousekeepingInterval", int64(c.HousekeepingInterval), int64(time.Millisecond), math.MaxInt64},
		{"DrainTimeout", int64(c.DrainTimeout), int64(time.Millisecond), math.MaxInt64},
		{"Topics.Partitions", int64(c.Topics.Partitions), 0, math.MaxInt32},
		{"Topics.ReplicationFactor", int64(c.Topics.ReplicationFactor), 0, math.MaxInt16},
	} {
		if bound.value < bound.least || bound.value > bound.most {
			bad("%s is %d: want %d to %d", bound.name, bound.value, bound.least, bound.most)
		}
	}
	for _, s := range c.Assign {
		if s < 0 {
			bad("shard %d in Assign is negative", s)
		}
	}
	if _, err := c.router(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// router makes a router; each goroutine that routes has its own.
func (c Config) router() (*router, error) {
	return newRouter(c.Route, c.DeadLetter.Topic)
}

// staticRoute is the topic of a route that is the same for every entry.
func (c Config) staticRoute() []string {
	if c.Route == "" || strings.Contains(c.Route, "{{") {
		return nil
	}
	return []string{c.Route}
}
