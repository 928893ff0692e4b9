package delivery

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Source is one shard's ordered flow of records. Its methods are called by the shard's own goroutine, except Committed.
type Source interface {
	// Run gives batches to the seat, from the seat's position on, until ctx ends or something fails. It is called again,
	// with the same seat or another one, after whatever it returned. A Halt stops the shard until it looks again.
	Run(ctx context.Context, seat *Seat) error
	// Committed is told of batches that have become visible, in their order. It is called by the lane, which waits for it.
	Committed(batches []*Batch, began time.Time)
	// Refused is told of records that Kafka refuses for what they are, before Run is called again.
	Refused(refusals []Refusal)
	// Tell takes the shard's state; halt is nil unless the state is Halted.
	Tell(state State, reason string, halt Halt)
	// Idle waits, for d at most, while the shard cannot deliver.
	Idle(ctx context.Context, d time.Duration)
	// Paused says whether an operator wants the shard to stand still, and why.
	Paused() (reason string, paused bool)
}

// Batch is a run of entries that become visible together.
type Batch struct {
	// Records are produced in their order, to the partitions that they name.
	Records []*kgo.Record
	// Position gives the position behind the batch, as JSON.
	Position func() ([]byte, error)
	Entries  int
	Bytes    int
	// Cost is how much of Config.MaxInFlight the batch holds until it is committed or dropped.
	Cost int64
	// AtEnd: nothing stood behind the last entry when it was read.
	AtEnd bool
	// Of is the source's own.
	Of any

	queued time.Time
}

// Refusal is a record that Kafka refuses for what it is, and will refuse again.
type Refusal struct {
	Record *kgo.Record
	Err    error
}
