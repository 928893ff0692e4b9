package delivery

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Source is one shard's ordered flow of records. Its methods are called by the shard's own
// goroutine, except Committed.
type Source interface {
	// Run gives batches to the seat, from the seat's position on, until ctx ends or something fails.
	// It is called again, with the same seat or another one, after whatever it returned. A Halt stops
	// the shard until it looks again.
	Run(ctx context.Context, seat *Seat) error
	// Committed is called with batches that have become visible, in their order. The lane calls it and
	// waits for it.
	Committed(batches []*Batch, began time.Time)
	// Refused is called with records that Kafka refuses for their content, before Run is called again.
	Refused(refusals []Refusal)
	// Tell takes the shard's state; halt is nil unless the state is Halted.
	Tell(state State, reason string, halt Halt)
	// Idle waits, for d at most, while the shard cannot deliver.
	Idle(ctx context.Context, d time.Duration)
	// Paused says whether an operator has paused the shard, and why.
	Paused() (reason string, paused bool)
}

// Batch is a run of entries that become visible together.
type Batch struct {
	// Records are produced in their order, to the partitions that they name.
	Records []*kgo.Record
	// Position gives the position after the batch, as JSON.
	Position func() ([]byte, error)
	Entries  int
	Bytes    int
	// Cost is how much of Config.MaxInFlight the batch holds until it is committed or dropped.
	Cost int64
	// AtEnd: the source had nothing after the last entry when it was read.
	AtEnd bool
	// Of is whatever the source keeps with the batch.
	Of any

	queued time.Time
}

// Refusal is a record that Kafka refuses for its content, and will refuse again.
type Refusal struct {
	Record *kgo.Record
	Err    error
}
