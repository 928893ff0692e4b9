package inbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/options"
	"github.com/sluice-outbox/sluice/outbox"
)

// Handler queues the effects of a record on tx. It runs again if the transaction did not commit, so
// it must have no other effects. An error has none of its effects committed and is retried; see
// Poison.
type Handler func(ctx context.Context, tx *Tx, r Record) error

// ErrorPolicy says what happens to a record whose handler fails for good.
type ErrorPolicy int

const (
	// Halt stops the partition before the record. It is tried again every few seconds.
	Halt ErrorPolicy = iota
	// DeadLetter puts the record into the dead-letter topic and goes on.
	DeadLetter
	// Park does so too, and puts every later record of the same key behind it, in order, until they
	// are replayed. Records without a key are dead letters.
	Park
)

// Start says where an inbox begins that has no position yet.
type Start int

const (
	// Beginning is offset 0. A partition that no longer has it halts, because records are missing.
	Beginning Start = iota
	// Earliest is the first offset that Kafka has.
	Earliest
	// End is behind what is there now. Partitions that are added later begin at their beginning.
	End
)

// ChangePolicy says what happens when a topic gets partitions so that its state would be in other
// hash slots.
type ChangePolicy int

const (
	// HaltOnChange stops the topic's partitions.
	HaltOnChange ChangePolicy = iota
	// ContinueOnChange goes on. Tx.StateKey gives keys of a record that moved to another partition
	// another tag.
	ContinueOnChange
)

// Retry says how a handler's error is retried. The partition waits meanwhile, which keeps the
// order.
type Retry struct {
	// Attempts before the policy applies; 0: 5.
	Attempts int
	// Wait before the second attempt, doubled each time up to MaxWait, with jitter; 0: 100 ms and
	// 10 s.
	Wait, MaxWait time.Duration
}

// Config of an Inbox. Zero values mean what their field says.
type Config struct {
	// Inbox is its name, of the form of an outbox's. Required. Two inboxes with one name share the
	// work of one.
	Inbox string
	// Redis is where the effects go. Required: a *redis.Client or a *redis.ClusterClient that reads
	// from masters. Its pool should hold a connection a partition. The caller closes it.
	Redis redis.UniversalClient
	// Kafka has the options of every Kafka client that the inbox opens: seed brokers, TLS, SASL.
	// Required.
	Kafka []kgo.Opt
	// Topics to apply. Required. They are read with read_committed.
	Topics []string
	// Handle is called for each record. Required.
	Handle Handler

	// Outbox is the outbox that Tx.Append writes to, on the same Redis. Its shards must divide the
	// partitions of every topic; then state, position and events of a partition share a hash slot.
	// Empty: Append fails. It cannot be changed later.
	Outbox string
	// Writer configures the events of Tx.Append; its Outbox is the one above.
	Writer outbox.Config
	// Slots is over how many hash tags the state is spread; it must divide the partitions of every
	// topic, and cannot be changed later. 0: the outbox's shards, or the greatest common divisor of
	// the partitions at the first start.
	Slots int
	// RequireSameSlot refuses keys outside the partition's hash slot on every server, as is always
	// done on a Cluster.
	RequireSameSlot bool

	// Start is where partitions begin at the very first start.
	Start Start
	// OnPartitionsAdded applies when Slots no longer divides the partitions of a topic.
	OnPartitionsAdded ChangePolicy

	// OnError is what happens to a record whose handler fails for good.
	OnError ErrorPolicy
	Retry   Retry
	// DeadLetterTopic takes the records; empty: sluice-inbox.<inbox>.dlq. It is created, compacted,
	// if it does not exist.
	DeadLetterTopic string
	// MaxParked bounds the parked keys of a partition, which are in Redis and in memory. With more
	// it halts; 0: 10,000.
	MaxParked int
	// CheckTypes asks for the type of every key that a command needs a type of, and watches it, so
	// that WRONGTYPE is found before anything is sent. It about doubles the commands.
	CheckTypes bool

	// MaxRecords, MaxBytes and MaxTime bound one transaction; 0: 1,000 records, 4 MiB, 100 ms of
	// the handler's time. Nothing waits for them to be reached.
	MaxRecords int
	MaxBytes   int
	MaxTime    time.Duration
	// MaxInFlight bounds the bytes of records that wait in this process; 0: 64 MiB.
	MaxInFlight int

	// SessionTimeout is when Kafka's group gives a silent instance's partitions to others; 0: 6 s.
	SessionTimeout time.Duration
	// HousekeepingInterval is the pace of offsets, control and status; 0: 1 s.
	HousekeepingInterval time.Duration
	// DrainTimeout is how long a partition that is told to stop may take for its transaction; 0: 10
	// s.
	DrainTimeout time.Duration

	// Assign fixes the partitions of this instance, by topic, instead of leaving them to Kafka's
	// group.
	Assign map[string][]int32

	// Instance names this process in logs, status and positions; empty: host, process id and a
	// random part. It must be unique: a position of another instance is told apart by it.
	Instance string
	// Logger takes one line a state change; nil: slog.Default().
	Logger *slog.Logger
	// Observer is told what happens; nil: nobody is.
	Observer *Observer
}

func (c Config) withDefaults() Config {
	c.Topics = slices.Clone(c.Topics)
	if c.Assign != nil {
		c.Assign = maps.Clone(c.Assign)
	}
	if c.DeadLetterTopic == "" {
		c.DeadLetterTopic = DeadLetterTopic(c.Inbox)
	}
	c.Writer.Outbox = c.Outbox
	c.Writer.RequireSameSlot = c.Writer.RequireSameSlot || c.RequireSameSlot
	options.Default(&c.Retry.Attempts, 5)
	options.Default(&c.Retry.Wait, 100*time.Millisecond)
	options.Default(&c.Retry.MaxWait, 10*time.Second)
	options.Default(&c.MaxParked, 10_000)
	options.Default(&c.MaxRecords, 1000)
	options.Default(&c.MaxBytes, 4<<20)
	options.Default(&c.MaxTime, 100*time.Millisecond)
	options.Default(&c.MaxInFlight, 64<<20)
	options.Default(&c.SessionTimeout, 6*time.Second)
	options.Default(&c.HousekeepingInterval, time.Second)
	options.Default(&c.DrainTimeout, 10*time.Second)
	if c.Instance == "" {
		c.Instance = options.Instance("inbox")
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
	errs := []error{c.validateServers()}
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("inbox: "+format, args...))
	}
	if c.Handle == nil {
		bad("Config.Handle is required")
	}
	if c.Outbox != "" {
		if err := outbox.ValidateName(c.Outbox); err != nil {
			errs = append(errs, err)
		}
	}
	for topic := range c.Assign {
		if !slices.Contains(c.Topics, topic) {
			bad("Assign has topic %q, which Topics has not", topic)
		}
	}
	for _, choice := range []struct {
		name  string
		value int
		names []string
	}{
		{"OnError", int(c.OnError), policyNames},
		{"Start", int(c.Start), startNames},
		{"OnPartitionsAdded", int(c.OnPartitionsAdded), changeNames},
	} {
		if choice.value < 0 || choice.value >= len(choice.names) {
			bad("%s %d is none of %s", choice.name, choice.value, strings.Join(choice.names, ", "))
		}
	}
	for _, bound := range []struct {
		name        string
		value       int64
		least, most int64
	}{
		{"Slots", int64(c.Slots), 0, 1 << 16},
		{"Retry.Attempts", int64(c.Retry.Attempts), 1, math.MaxInt32},
		{"Retry.Wait", int64(c.Retry.Wait), int64(time.Millisecond), int64(time.Hour)},
		{"Retry.MaxWait", int64(c.Retry.MaxWait), int64(c.Retry.Wait), int64(time.Hour)},
		{"MaxParked", int64(c.MaxParked), 1, 1 << 20},
		{"MaxRecords", int64(c.MaxRecords), 1, 1 << 20},
		{"MaxBytes", int64(c.MaxBytes), 1, math.MaxInt32},
		{"MaxTime", int64(c.MaxTime), int64(time.Millisecond), int64(time.Minute)},
		{"MaxInFlight", int64(c.MaxInFlight), 1 << 10, math.MaxInt64},
		{
			"SessionTimeout", int64(c.SessionTimeout), int64(100 * time.Millisecond),
			math.MaxInt32 * int64(time.Millisecond),
		},
		{"HousekeepingInterval", int64(c.HousekeepingInterval), int64(time.Millisecond), math.MaxInt64},
		{"DrainTimeout", int64(c.DrainTimeout), int64(time.Millisecond), math.MaxInt64},
	} {
		if bound.value < bound.least || bound.value > bound.most {
			bad("%s is %d: want %d to %d", bound.name, bound.value, bound.least, bound.most)
		}
	}
	return errors.Join(errs...)
}

// validateServers checks what operators need as well as instances.
func (c Config) validateServers() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("inbox: "+format, args...))
	}
	if err := outbox.ValidateName(c.Inbox); err != nil {
		bad("the name of the inbox has the form of an outbox's: %w", err)
	}
	switch c.Redis.(type) {
	case nil:
		bad("Config.Redis is required")
	case *redis.Ring:
		bad("a redis.Ring cannot hold an inbox: use redis.Client or redis.ClusterClient")
	}
	if len(c.Kafka) == 0 {
		bad("Config.Kafka is required: at least kgo.SeedBrokers")
	} else if err := kgo.ValidateOpts(c.Kafka...); err != nil {
		bad("Config.Kafka: %w", err)
	}
	if len(c.Topics) == 0 {
		bad("Config.Topics is required")
	}
	for i, topic := range c.Topics {
		if topic == "" || topic == c.DeadLetterTopic || slices.Contains(c.Topics[:i], topic) {
			bad("topic %q is empty, there twice, or the dead-letter topic", topic)
		}
	}
	return errors.Join(errs...)
}

var (
	policyNames = []string{"halt", "dead_letter", "park"}
	startNames  = []string{"beginning", "earliest", "end"}
	changeNames = []string{"halt", "continue"}
)

func (p ErrorPolicy) String() string  { return options.Name(policyNames, int(p)) }
func (s Start) String() string        { return options.Name(startNames, int(s)) }
func (p ChangePolicy) String() string { return options.Name(changeNames, int(p)) }

// ParseErrorPolicy is the inverse of ErrorPolicy.String.
func ParseErrorPolicy(s string) (ErrorPolicy, error) {
	return options.Parse[ErrorPolicy]("on_error", policyNames, s)
}

// ParseStart is the inverse of Start.String.
func ParseStart(s string) (Start, error) { return options.Parse[Start]("start", startNames, s) }

// ParseChangePolicy is the inverse of ChangePolicy.String.
func ParseChangePolicy(s string) (ChangePolicy, error) {
	return options.Parse[ChangePolicy]("on_partitions_added", changeNames, s)
}
