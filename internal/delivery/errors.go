package delivery

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// This file decides what an error means. Every error kills its lane; the class says where and when
// the lane's shards are seated again.

var (
	// errFenced: another lane has fenced this one.
	errFenced = errors.New("fenced by a newer owner of the shard")
	// errLaneEnded: the lane ended because of another shard, or of no single one. The shard is seated
	// again at once.
	errLaneEnded = errors.New("the lane has ended")
	// errConnection: a request got no answer. Before anything else is sent it is found out which
	// markers a broker owes.
	errConnection = errors.New("kafka: a broker did not answer, the transactions are looked at anew")
	// errReinitialised: the client has initialised its id again by itself, which a lane never allows.
	errReinitialised = errors.New("kafka: the client has initialised its transactional id again")
	// errReleased: the seat was given back.
	errReleased = errors.New("the seat was given back")
)

// refusedError: Kafka refuses records of the shard for their content.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return "kafka refuses records: " + e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// stallError: records of the shard got no answer in time.
type stallError struct {
	at    place
	since time.Time
	err   error // nil: no answer
}

func (e *stallError) Error() string {
	text := fmt.Sprintf("kafka: %v has not answered since %s", e.at, e.since.UTC().Format("15:04:05Z"))
	if e.err != nil {
		text += ": " + e.err.Error()
	}
	return text
}
func (e *stallError) Unwrap() error { return e.err }

// recordError is another failure of a record.
type recordError struct {
	at  place
	err error
}

func (e *recordError) Error() string { return fmt.Sprintf("kafka: %v: %v", e.at, e.err) }
func (e *recordError) Unwrap() error { return e.err }

// isFenced: brokers use any of these, depending on version and timing, for a producer whose epoch
// is old.
func isFenced(err error) bool {
	for _, fence := range []error{
		errFenced, errReinitialised, kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.InvalidTxnState,
		kerr.InvalidProducerIDMapping,
		kerr.TransactionalIDNotFound,
	} {
		if errors.Is(err, fence) {
			return true
		}
	}
	return false
}

// IsRefusal reports whether Kafka refuses this very record, and will refuse it again.
func IsRefusal(err error) bool {
	for _, refusal := range []error{
		kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord,
		kerr.InvalidTimestamp,
	} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// isOwn reports whether a failure is about the record's partition and not about the lane.
func isOwn(err error) bool {
	return err != nil && !isFenced(err) && !errors.Is(err, kerr.TransactionAbortable) &&
		!errors.Is(err, kgo.ErrClientClosed) && !errors.Is(err, kgo.ErrAborting)
}
