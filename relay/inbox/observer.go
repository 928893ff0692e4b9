package inbox

import "time"

// Observer is told what an inbox does, for metrics and for tests. Every func may be nil. They are
// called on the applying path: they must return quickly and must not block.
type Observer struct {
	// Applied is called after each transaction.
	Applied func(Commit)
	// DeadLettered is called for each record that became a dead letter, after the transaction that
	// passed it.
	DeadLettered func(topic string, partition int32, offset int64, reason Reason)
	// Replayed is called for each dead letter that took effect.
	Replayed func(topic string, partition int32, offset int64)
	// StateChanged is called when a partition's state or its reason changes.
	StateChanged func(PartitionStatus)
}

// Commit describes one transaction.
type Commit struct {
	Topic     string
	Partition int32
	Records   int // that took effect
	Letters   int // that became dead letters instead
	Commands  int // of the handlers
	Bytes     int // of the records
	// one a record: commit minus the record's timestamp; valid during the call only
	Ages []time.Duration
	Took time.Duration // from the first handler's call to the reply
}

// State of a partition as an instance sees it.
type State string

// The states; doc.go has the transitions.
const (
	Starting State = "starting" // reading the position, holding it against Kafka
	Running  State = "running"
	Waiting  State = "waiting" // for a server, or for the next attempt at a record; Reason says which
	Paused   State = "paused"  // by an operator
	Halted   State = "halted"  // cannot go on by itself; Reason says why and what to do
	Stopped  State = "stopped" // not this instance's any more
)

// PartitionStatus is one partition of an inbox.
type PartitionStatus struct {
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	State     State     `json:"state"`
	Since     time.Time `json:"since"`
	Reason    string    `json:"reason,omitempty"`
	// Record is the offset that a halt or a wait is about; -1: none.
	Record int64 `json:"record"`
	// Expected and Found are the evidence of a halt.
	Expected string `json:"expected,omitempty"`
	Found    string `json:"found,omitempty"`
	// Position is the last one known to be committed; nil: none is known.
	Position *Position `json:"position"`
	// Lag counts the offsets from the position to the end of what is committed; -1: unknown.
	Lag int64 `json:"lag"`
	// OldestUnapplied is the age of the first record that waits; 0: none does; -1: unknown.
	OldestUnapplied time.Duration `json:"oldest_unapplied"`
	// ParkedKeys of the partition; -1: unknown.
	ParkedKeys int `json:"parked_keys"`
	// Instance that told it.
	Instance string `json:"instance,omitempty"`
}
