package migrations

import (
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// MaxShards is the most shards that an outbox can have. Each costs a relay a connection's share,
// two Kafka producers and a partition of every topic of the outbox.
const MaxShards = 1024

// Config says what the layout is to be.
type Config struct {
	// Outbox is the name of the outbox. Required.
	Outbox string

	// Shards is the number of shards, 1 to MaxShards. Required, and fixed once the layout exists.
	Shards int

	// DeadLetterTopic is the Kafka topic for entries that cannot be delivered. Empty means
	// names.DeadLetterTopic(Outbox). Several outboxes may share one: it must have as many partitions
	// as the largest of them has shards.
	DeadLetterTopic string

	// ReplicationFactor is that of the topics created here. 0 means the broker's default, which on a
	// single development broker is what works.
	ReplicationFactor int

	// RecreatePositions allows Plan to create the positions topic again when the layout says that it
	// existed and it is gone. Without it Plan refuses, because with the topic every shard's
	// position is gone: a relay would not know what it has delivered. After it was created again each
	// shard needs its position set by hand, or starts from the oldest entry that Redis
	// retains and delivers what was delivered before a second time.
	RecreatePositions bool

	// AdoptPositions allows Plan to go on when Redis has no layout for this outbox but the positions
	// topic has records. That is so when Redis lost its data, and also when another Redis deployment
	// uses the same outbox name on the same Kafka, whose relays this one's would fence. Without it
	// Plan refuses. Relays then find each shard's old position without its entry and halt until an
	// operator resumes them.
	AdoptPositions bool

	// OnStep is called by Apply after each step that was carried out, in order, from the calling
	// goroutine. It must return soon. May be nil.
	OnStep func(Step)
}

// Migrator plans and applies the layout of one outbox. It keeps no state between calls and can be
// used by several goroutines at once.
type Migrator struct {
	cfg    Config
	redis  redis.UniversalClient
	client *kgo.Client
	kafka  *kadm.Client // over client
}

// New returns a Migrator for the outbox of cfg. It does no I/O. The clients stay the caller's to
// close; kafka needs no options beyond its brokers and credentials. Kafka is not contacted as long
// as only layout versions below 2 are concerned.
func New(rdb redis.UniversalClient, kafka *kgo.Client, cfg Config) (*Migrator, error) {
	if cfg.DeadLetterTopic == "" {
		cfg.DeadLetterTopic = names.DeadLetterTopic(cfg.Outbox)
	}
	if rdb == nil || kafka == nil {
		return nil, errors.New("migrations: a Redis and a Kafka client are required")
	}
	if err := outbox.ValidateName(cfg.Outbox); err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	if cfg.Shards < 1 || cfg.Shards > MaxShards {
		return nil, fmt.Errorf("migrations: %d shards: want 1 to %d", cfg.Shards, MaxShards)
	}
	if err := names.ValidateDeadLetterTopic(cfg.Outbox, cfg.DeadLetterTopic); err != nil {
		return nil, fmt.Errorf("migrations: dead-letter topic: %w", err)
	}
	if cfg.ReplicationFactor < 0 || cfg.ReplicationFactor > 1<<15-1 {
		return nil, fmt.Errorf("migrations: replication factor %d: want 0 (the broker's default) or more",
			cfg.ReplicationFactor)
	}
	return &Migrator{cfg: cfg, redis: rdb, client: kafka, kafka: kadm.NewClient(kafka)}, nil
}
