package inbox

import (
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/outbox"
)

// This file decides what an error means for a partition:
//
//	*failure       the record's: retried, then halted, dead-lettered or parked by policy
//	errConflict    a key that the handler watches was changed: at once again
//	errOvertaken   the position is not what this instance wrote: begun again from what Redis has
//	*HaltError     waiting does not mend it; looked at again every few seconds
//	anything else  a server's: begun again with backoff, and never held against a record

// Poison marks an error of a handler as one that no attempt will mend: the policy applies at once.
func Poison(err error) error {
	if err == nil {
		return nil
	}
	return &poisonError{err}
}

type poisonError struct{ err error }

func (e *poisonError) Error() string { return e.err.Error() }
func (e *poisonError) Unwrap() error { return e.err }

// HaltError stops a partition until an operator or a change outside lets it go on.
type HaltError struct {
	Topic     string
	Partition int32
	// Offset is the record that the halt is about; -1 if it is about none.
	Offset int64
	// Reason says what happened and what to do.
	Reason string
	// Expected and Found are the evidence.
	Expected, Found string
}

func (e *HaltError) Error() string {
	text := fmt.Sprintf("%s is halted: %s", place(e.Topic, e.Partition), e.Reason)
	if e.Expected != "" || e.Found != "" {
		text += fmt.Sprintf(" (expected %s, found %s)", e.Expected, e.Found)
	}
	return text
}

// Reason is why a record is a dead letter, as it stands in the header sluice-reason.
type Reason string

// The reasons.
const (
	Failed      Reason = "failed"      // its handler failed Retry.Attempts times
	Poisoned    Reason = "poison"      // its handler says that it is Poison
	Undecodable Reason = "undecodable" // a structured CloudEvent that is none
	Refused     Reason = "refused"     // Redis does not take one of its commands
	// a key of its commands holds another type; see Config.CheckTypes
	WrongType Reason = "wrong_type"
	Partial   Reason = "partial" // some of its commands took effect, others failed
	Parked    Reason = "parked"  // an earlier record of its key is parked
)

// failure is a record that could not be applied.
type failure struct {
	offset int64
	reason Reason
	err    error
	// final: no further attempt will mend it.
	final bool
	// alone: it showed at EXEC, so that its neighbours had no effect either.
	alone bool
}

func (e *failure) Error() string { return fmt.Sprintf("offset %d: %v", e.offset, e.err) }
func (e *failure) Unwrap() error { return e.err }

var (
	errConflict  = errors.New("a watched key was changed")
	errOvertaken = errors.New("the position in Redis is not the one that this instance wrote")
	errPaused    = errors.New("paused")
	errMoving    = errors.New("redis: the slot of the partition is moving")
	errInTx      = errors.New(
		"inbox: the transaction is executed by the inbox, when its records are applied")
	errNoOutbox = errors.New("inbox: Append needs Config.Outbox")
)

// SlotError says that a command of a handler uses a key outside the hash slot of its partition, so
// that a Redis Cluster cannot change it together with the position. Nothing was sent. Build the key
// with Tx.StateKey.
type SlotError struct {
	Command string
	Key     string
	Slot    int
	Tag     string
	TagSlot int
}

func (e *SlotError) Error() string {
	return fmt.Sprintf(
		"%s: key %q is in hash slot %d, the position in %d: one transaction needs one slot; put the "+
			"tag %s into the key, as Tx.StateKey does",
		e.Command, e.Key, e.Slot, e.TagSlot, e.Tag)
}

// serverStates is how replies begin that say something of the server or of this client's
// permissions, and nothing of a record.
var serverStates = []string{
	"OOM ", "READONLY ", "LOADING ", "MASTERDOWN ", "CLUSTERDOWN ", "TRYAGAIN ", "MOVED ", "ASK ",
	"UNBLOCKED ", "BUSY ", "MISCONF ",
	"NOREPLICAS ", "NOPERM ", "NOAUTH ", "WRONGPASS ", "ERR max number of clients reached",
}

// isServerState reports whether a failed command says nothing of the record: the server did not
// answer, or cannot now.
func isServerState(err error) bool {
	switch {
	case err == nil, errors.Is(err, redis.Nil), errors.Is(err, redis.TxFailedErr):
		return false
	case !isReply(err):
		return true
	}
	for _, prefix := range serverStates {
		if redis.HasErrorPrefix(err, prefix) {
			return true
		}
	}
	return false
}

func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

// isEventError reports whether an outbox refuses an event for what it is, and would refuse it
// again.
func isEventError(err error) bool {
	var event *outbox.EventError
	var limit *outbox.LimitError
	var shard *outbox.ShardError
	return errors.As(err, &event) || errors.As(err, &limit) || errors.As(err, &shard)
}

// oneLine keeps a text short enough for a header, a log line and a status.
func oneLine(text string) string {
	const most = 1000
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + " …"
	}
	return text
}
