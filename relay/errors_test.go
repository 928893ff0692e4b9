package relay

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/sluice-outbox/sluice/internal/rawreply"
	"github.com/sluice-outbox/sluice/outbox"
)

// One row for each error whose meaning errors.go decides, wrapped as callers wrap it.
func TestErrorClasses(t *testing.T) {
	t.Parallel()
	wrap := func(err error) error {
		return fmt.Errorf("kafka: commit: %w", &recordError{"t", outbox.EntryID{MS: 1}, err})
	}
	for _, c := range []struct {
		err    error
		poison Reason
	}{
		{kerr.ProducerFenced, ""},
		{kerr.InvalidProducerEpoch, ""},
		{kerr.InvalidTxnState, ""},
		{kerr.TransactionalIDNotFound, ""},
		{errRestart, ""},
		{kerr.MessageTooLarge, ReasonTooLarge},
		{kerr.RecordListTooLarge, ReasonTooLarge},
		{kerr.InvalidRecord, ReasonRejected},
		{kerr.InvalidTimestamp, ReasonRejected},
		// None of these is the record's fault.
		{kerr.UnknownServerError, ""},
		{kerr.OperationNotAttempted, ""},
		{kerr.ConcurrentTransactions, ""},
		{kerr.TransactionAbortable, ""},
		{kerr.InvalidProducerIDMapping, ""},
		{kerr.OutOfOrderSequenceNumber, ""},
		{kerr.UnknownTopicOrPartition, ""},
		{kerr.NotEnoughReplicas, ""},
		{kerr.NotEnoughReplicasAfterAppend, ""},
		{kerr.KafkaStorageError, ""},
		{kerr.NotCoordinator, ""},
		{kerr.CoordinatorNotAvailable, ""},
		{kerr.TopicAuthorizationFailed, ""},
		{kerr.TransactionalIDAuthorizationFailed, ""},
		{kerr.ClusterAuthorizationFailed, ""},
		{kerr.SaslAuthenticationFailed, ""},
		{kerr.CorruptMessage, ""},
		{kerr.PolicyViolation, ""},
		{errors.New("connection refused"), ""},
		{context.DeadlineExceeded, ""},
		{nil, ""},
	} {
		for _, err := range []error{c.err, wrap(c.err)} {
			if c.err == nil {
				err = nil
			}
			if got, ok := poisonReason(err); got != c.poison || ok != (c.poison != "") {
				t.Errorf("%v: poison is %q, %v", err, got, ok)
			}
		}
	}
}

func TestRedisErrorClasses(t *testing.T) {
	t.Parallel()
	type class struct{ wrongType, unknown bool }
	for want, texts := range map[class][]string{
		{wrongType: true}: {
			"WRONGTYPE Operation against a key holding the wrong kind of value",
		},
		{unknown: true}: {
			"ERR unknown command 'XGROUP', with args beginning with: ",
			"ERR Unknown subcommand or wrong number of arguments for 'SETID'. Try XGROUP HELP.",
			"ERR unknown subcommand or wrong number of arguments for 'SETID'. Try XINFO HELP.",
			"ERR syntax error",
			"ERR wrong number of arguments for 'xgroup|setid'",
		},
		{}: {
			"ERR no such key",
			"NOGROUP No such key 'a' or consumer group 'b'",
			"LOADING Redis is loading the dataset in memory",
			"READONLY You can't write against a read only replica.",
			"MISCONF Redis is configured to save RDB snapshots",
			"MOVED 3999 127.0.0.1:6381",
			"NOPERM this user has no permissions to run the 'xrange' command",
			"OOM command not allowed",
			"a text that mentions WRONGTYPE and ERR unknown",
		},
	} {
		for _, text := range texts {
			for _, err := range []error{
				rawreply.Error(text),
				fmt.Errorf("redis: XRANGE k: %w", rawreply.Error(text)),
			} {
				if got := isWrongType(err); got != want.wrongType {
					t.Errorf("%v: wrong type is %v", err, got)
				}
				if got := isUnknownCommand(err); got != want.unknown {
					t.Errorf("%v: unknown command is %v", err, got)
				}
			}
		}
	}
	if hasPrefix(nil, "") || isWrongType(nil) || isUnknownCommand(nil) {
		t.Error("no error has a class")
	}
}

func TestHaltErrorText(t *testing.T) {
	t.Parallel()
	halt := &HaltError{Shard: 3, Reason: "the stream is gone"}
	if got := halt.Halt(); got != "the stream is gone" {
		t.Error(got)
	}
	if got := halt.Error(); got != "shard 3 is halted: the stream is gone" {
		t.Error(got)
	}
	halt.Expected, halt.Found = "entry 5-0", "nothing"
	if got := halt.Error(); got != "shard 3 is halted: the stream is gone (expected entry 5-0, "+
		"found nothing)" {
		t.Error(got)
	}
	var found *HaltError
	if !errors.As(fmt.Errorf("session: %w", halt), &found) || found != halt {
		t.Error("a wrapped HaltError is not found")
	}
}
