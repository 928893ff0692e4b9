package migrations

import (
	"errors"
	"fmt"
	"strings"
)

// Problem classifies a Finding for programs. New ones may be added.
type Problem string

// The problems.
const (
	Missing          Problem = "missing"           // a part that the reached version has is not there
	WrongType        Problem = "wrong_type"        // a Redis key is of another type
	UnreadableLayout Problem = "unreadable_layout" // the layout hash lacks a field or holds nonsense
	NewerVersion     Problem = "newer_version"     // a newer Sluice made this layout
	OtherFormat      Problem = "other_format"      // the entries have another wire format
	OtherShards      Problem = "other_shards"      // the layout has another number of shards
	WrongPartitions  Problem = "wrong_partitions"  // a topic has another number of partitions
	WrongPolicy      Problem = "wrong_policy"      // a topic is not compacted, or is also deleted from
	SmallMessages    Problem = "small_messages"    // the dead-letter topic does not accept a chunk
	PositionsLost    Problem = "positions_lost"    // the positions topic existed and is gone
	PositionsFound   Problem = "positions_found"   // positions exist though Redis has no layout
	OldRedis         Problem = "old_redis"         // Redis before 7.0
	NoTransactions   Problem = "no_transactions"   // Kafka without transactions
	RelaysRunning    Problem = "relays_running"    // relays run while positions are to be converted
)

// Finding is one difference between the wanted layout and what the servers have: in a Plan what
// stops it, in a Status what has drifted.
type Finding struct {
	Problem Problem `json:"problem"`
	Name    string  `json:"name"`   // the Redis key, the Kafka topic or the server
	Detail  string  `json:"detail"` // what is wrong, in a sentence
	Fix     string  `json:"fix"`    // what to do about it
}

func (f Finding) String() string { return f.Name + ": " + f.Detail }

// RefusedError is returned by Apply for a plan with findings. Nothing was changed. Each finding
// says what to do; then plan again.
type RefusedError struct {
	Outbox   string
	Findings []Finding
}

func (e *RefusedError) Error() string {
	all := make([]string, len(e.Findings))
	for i, f := range e.Findings {
		all[i] = f.String()
	}
	return fmt.Sprintf("migrations: outbox %s: refused: %s", e.Outbox, strings.Join(all, "; "))
}

// ErrNoWayBack is returned by Plan for a target below the version that was reached. Layouts only go
// forward; a lower version is had by creating another outbox.
var ErrNoWayBack = errors.New(
	"migrations: the layout is already past that version and does not go back")

// ErrUnknownVersion is returned by Plan for a target that this build does not know.
var ErrUnknownVersion = errors.New("migrations: unknown layout version")

// ErrOvertaken is returned by Apply when the layout is no longer what the plan was made for and
// another migration at the same time does not explain it. Plan again.
var ErrOvertaken = errors.New("migrations: the layout changed since the plan was made")
