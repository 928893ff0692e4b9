package consistency

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
)

// What an audit needs of the two systems, so that what decides is tested without them.

// streamState is what Redis says about a stream at one moment.
type streamState struct {
	exists bool
	// last is the ID of the last entry ever added; first that of the first one that is still there,
	// 0-0 if there is none.
	last, first EntryID
	length      int64
	// counted: the server counts additions (Redis 7.0 and later), so that the next two are known.
	counted    bool
	added      int64
	maxDeleted EntryID // the greatest ID that XDEL has removed
}

// streams reads the entries of an outbox.
type streams interface {
	// state is of the server that takes writes.
	state(ctx context.Context, shard int) (streamState, error)
	// read gives the entries in (after, to] to fn, ascending. What fn is given is valid until it
	// returns; errStop ends the reading without an error.
	read(ctx context.Context, shard int, after, to EntryID, fn func(rawEntry) error) error
	// pending: a relay of at-least-once delivery has read the entry, and has not confirmed that it
	// was delivered.
	pending(ctx context.Context, shard int, id EntryID) (bool, error)
}

// topic is a Kafka topic as the cluster describes it.
type topic struct {
	name       string
	id         string
	partitions int
	// problem says why it cannot be read: it does not exist, or may not be seen.
	problem string
	// hidden: it may exist.
	hidden bool
}

// bounds are the offsets of a partition: its first record; where what is decided ends (the last
// stable offset); and, asked for after that, the end of everything. Between end and high are
// records of transactions that are open, or have just ended.
type bounds struct{ start, end, high int64 }

// logs reads the topics of an outbox.
type logs interface {
	// topics describes topics by name, and all others whose name begins with one of the prefixes or
	// is one of the patterns. A topic that was named is in the answer in any case.
	topics(ctx context.Context, names, patterns []string) ([]topic, error)
	// bounds are those of all partitions of a topic.
	bounds(ctx context.Context, names []string) (map[string][]bounds, error)
	// read gives the committed records in [from, to) to fn, in their order. A record is valid until
	// fn returns; errStop ends the reading without an error.
	read(ctx context.Context, topic string, partition int32, from, to int64,
		fn func(*kgo.Record) error) error
	// position is up to where a shard was delivered as its relay says; 0-0 if that is not known.
	position(ctx context.Context, shard int) (EntryID, error)
	// losesRecords says why a topic loses records by itself (compaction), empty if it does not.
	losesRecords(ctx context.Context, topic string) (string, error)
}

type stop struct{}

func (stop) Error() string { return "stop" }

// errStop ends a reading early.
var errStop error = stop{}
