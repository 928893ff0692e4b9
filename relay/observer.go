package relay

import (
	"time"

	"github.com/sluice-outbox/sluice/internal/delivery"
	"github.com/sluice-outbox/sluice/outbox"
)

// Observer has functions that a relay calls as it works, for metrics and for tests. Each may be
// nil. They are called on the delivery path, from several goroutines: they must return quickly and
// must not block.
type Observer struct {
	// Committed is called after the entries of one transaction (at-least-once: of one read) are
	// visible in Kafka.
	Committed func(Commit)
	// Transaction is called once for each Kafka transaction that made entries visible, after Committed
	// was called for each of its shards. Calls of Committed do not count transactions; this does.
	// At-least-once delivery has none.
	Transaction func(Transaction)
	// DeadLettered is called for each dead-lettered entry after its record is visible.
	DeadLettered func(shard int, entry outbox.EntryID, reason Reason)
	// StateChanged is called when a shard's state or its reason changes.
	StateChanged func(ShardStatus)
	// Trimmed is called with the number of entries that Redis removed.
	Trimmed func(shard int, entries int64)
}

// Transaction describes a committed Kafka transaction.
type Transaction = delivery.Transaction

// Commit describes one delivered batch.
type Commit struct {
	Shard   int
	Entries int
	Bytes   int            // of the entries in the stream
	Topics  map[string]int // records by topic, dead letters among them; valid during the call only
	// Ages has one for each entry: commit minus the time of its entry ID. Valid during the call only.
	Ages []time.Duration
	Took time.Duration // from the first produce to the acknowledged commit
}

// State of a shard as this relay sees it.
type State = delivery.State

// The states of a shard; doc.go has the transitions.
const (
	StateStarting = delivery.Starting // claiming, fencing, reading the position, checking the anchor
	StateRunning  = delivery.Running
	StateWaiting  = delivery.Waiting // a server does not answer; Reason says which, and since when
	StatePaused   = delivery.Paused  // an operator paused it
	StateHalted   = delivery.Halted  // it cannot go on by itself; Reason says why and what to do
	StateStopped  = delivery.Stopped // another relay's shard now
)

// ShardStatus is the state of one shard of this relay.
type ShardStatus struct {
	Shard    int       `json:"shard"`
	State    State     `json:"state"`
	Since    time.Time `json:"since"`
	Reason   string    `json:"reason,omitempty"`
	Entry    string    `json:"entry,omitempty"`    // the entry that a halt is about
	Expected string    `json:"expected,omitempty"` // evidence of an anchor mismatch
	Found    string    `json:"found,omitempty"`
	// Position is the last one known to be committed.
	Position Position `json:"position"`
	// Lag counts the entries after the position; -1: unknown.
	Lag int64 `json:"lag"`
	// OldestUndelivered is the age of the first entry after the position, 0 if there is none; -1:
	// unknown.
	OldestUndelivered time.Duration `json:"oldest_undelivered_ns"`
	// Missing counts entries that Redis says were added and that were gone before they could be
	// delivered.
	Missing uint64 `json:"missing"`
	// TrimHeld is how long the first entry that Trim.Limit holds back has been due; 0: none is held
	// back; -1: unknown.
	TrimHeld time.Duration `json:"trim_held_ns"`
}
