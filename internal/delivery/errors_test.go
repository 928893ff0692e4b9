package delivery

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// One row for each error whose meaning errors.go decides, wrapped as lanes wrap it.
func TestErrorClasses(t *testing.T) {
	t.Parallel()
	wrap := func(err error) error {
		return fmt.Errorf("kafka: commit: %w", &recordError{place{"t", 1}, err})
	}
	for _, c := range []struct {
		err     error
		fenced  bool
		refusal bool
		own     bool // of its partition's
	}{
		{kerr.ProducerFenced, true, false, false},
		{kerr.InvalidProducerEpoch, true, false, false},
		{kerr.InvalidTxnState, true, false, false},
		{kerr.InvalidProducerIDMapping, true, false, false},
		{kerr.TransactionalIDNotFound, true, false, false},
		{errFenced, true, false, false},
		{errReinitialised, true, false, false},
		{kerr.MessageTooLarge, false, true, true},
		{kerr.RecordListTooLarge, false, true, true},
		{kerr.InvalidRecord, false, true, true},
		{kerr.InvalidTimestamp, false, true, true},
		{kerr.UnknownTopicOrPartition, false, false, true},
		{kerr.NotEnoughReplicas, false, false, true},
		{kerr.NotEnoughReplicasAfterAppend, false, false, true},
		{kerr.KafkaStorageError, false, false, true},
		{kerr.TopicAuthorizationFailed, false, false, true},
		{kerr.CorruptMessage, false, false, true},
		{kerr.PolicyViolation, false, false, true},
		{kerr.OutOfOrderSequenceNumber, false, false, true},
		{kerr.UnknownServerError, false, false, true},
		// A lane's, whatever the record.
		{kerr.TransactionAbortable, false, false, false},
		{kgo.ErrClientClosed, false, false, false},
		{kgo.ErrAborting, false, false, false},
		{nil, false, false, false},
	} {
		for _, err := range []error{c.err, wrap(c.err)} {
			if c.err == nil {
				err = nil
			}
			if got := isFenced(err); got != c.fenced {
				t.Errorf("%v: fenced is %v", err, got)
			}
			if got := IsRefusal(err); got != c.refusal {
				t.Errorf("%v: refusal is %v", err, got)
			}
			if got := isOwn(err); got != c.own {
				t.Errorf("%v: own is %v", err, got)
			}
		}
	}
	for _, err := range []error{
		errors.New("connection refused"), context.DeadlineExceeded,
		kerr.NotCoordinator, kerr.CoordinatorNotAvailable, kerr.ConcurrentTransactions,
		kerr.OperationNotAttempted,
	} {
		if isFenced(err) || IsRefusal(err) {
			t.Errorf("%v: fenced is %v, refusal is %v", err, isFenced(err), IsRefusal(err))
		}
	}
}

func TestErrorTexts(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	for _, c := range []struct {
		err  error
		want string
	}{
		{
			&stallError{at: place{"t", 3}, since: since},
			"kafka: topic t, partition 3 has not answered since 02:04:05Z",
		},
		{
			&stallError{at: place{"t", 3}, since: since, err: errors.New("why")},
			"kafka: topic t, partition 3 has not answered since 02:04:05Z: why",
		},
		{&recordError{place{"t", 3}, errors.New("why")}, "kafka: topic t, partition 3: why"},
		{
			&refusedError{&recordError{place{"t", 3}, errors.New("why")}},
			"kafka refuses records: kafka: topic t, partition 3: why",
		},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got %s\nwant %s", got, c.want)
		}
	}
	halt, ok := asHalt(fmt.Errorf("kafka: %w", &haltError{"why"}))
	if !ok || halt.Halt() != "why" {
		t.Errorf("a wrapped halt: %v, %v", halt, ok)
	}
	if _, ok := asHalt(errFenced); ok {
		t.Error("every error is a halt")
	}
}
