package delivery

import (
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Config of an Engine. Every field is required unless it says otherwise.
type Config struct {
	// Outbox names what is delivered; transactional ids and keys of records begin with it.
	Outbox string
	// Topic is the compacted topic of positions and claims; its partition is the shard.
	Topic string
	// Client asks for metadata, offsets and fences. The caller closes it.
	Client *kgo.Client
	// Producer are the options of every transactional producer.
	Producer []kgo.Opt
	// Instance names this process in claims. Nothing depends on it.
	Instance string
	Logger   *slog.Logger

	// Lanes is how many lanes carry the shards that are well.
	Lanes int
	// Linger is the least time between the beginnings of two transactions of a lane; 0: none.
	Linger time.Duration
	// MaxEntries and MaxBytes bound one transaction.
	MaxEntries int
	MaxBytes   int
	// MaxInFlight bounds the bytes of all batches that wait for a commit.
	MaxInFlight int64
	// TransactionTimeout is when Kafka aborts a transaction of a dead process.
	TransactionTimeout time.Duration
	// DrainTimeout is how long a shard that is to stop may wait for its open transaction.
	DrainTimeout time.Duration

	// Origin says to which shard a record of a data topic belongs; ok is false if it is not of this
	// outbox.
	Origin func(r *kgo.Record) (shard int, ok bool)
	// Covers reports whether a position, nil for the beginning, is at or after a record of its shard.
	Covers func(position json.RawMessage, r *kgo.Record) bool
	// Known are further topics that this process has sent to. An earlier owner may have left a
	// transaction open there. May be nil.
	Known func() []string
	// Failed is called with topics whose records failed, so that the caller asks about them again. May
	// be nil.
	Failed func(topic string)
	// Transaction is called for each committed transaction; it must not block. May be nil.
	Transaction func(Transaction)
}

// Transaction describes a committed transaction of a lane.
type Transaction struct {
	Lane                   string
	Shards, Entries, Bytes int
	Took                   time.Duration // from its beginning to the acknowledged commit
}

// State of a shard.
type State string

// The states of a shard.
const (
	Starting State = "starting" // claiming, fencing, reading the position
	Running  State = "running"
	Waiting  State = "waiting" // a server does not answer; the reason says which, and since when
	Paused   State = "paused"  // an operator paused it
	Halted   State = "halted"  // it cannot go on by itself; the reason says why and what to do
	Stopped  State = "stopped" // another process's shard now
)

// Halt is an error that lasts until an operator or a change elsewhere ends it. The shard keeps its
// seat and tries again every few seconds.
type Halt interface {
	error
	Halt() (reason string)
}

func asHalt(err error) (Halt, bool) {
	var h Halt
	ok := errors.As(err, &h)
	return h, ok
}
