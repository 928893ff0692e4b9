package outbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
)

// What can go wrong between the writer and Redis. Test with errors.Is; the reply of the server is
// in the chain as well. After each of these nothing was written unless its text says otherwise.
// OutcomeOf answers that question for every error.
var (
	// ErrOutOfMemory: Redis has reached maxmemory and refuses to grow (OOM). Relays go on draining and
	// trimming; retry with back-off, and see why the outbox is not trimmed (a stopped relay, a long
	// retention) or give Redis more memory.
	ErrOutOfMemory = errors.New("the Redis server is out of memory")

	// ErrOutboxFull: the shard's stream has reached Config.MaxLength. Retry with back-off; see why it
	// is not trimmed.
	ErrOutboxFull = errors.New("the outbox is full")

	// ErrReadOnly: the server is a replica (READONLY), as an old primary is after a failover. Retry
	// with back-off; if it stays, the client is configured with a replica's address.
	ErrReadOnly = errors.New("the Redis server is a read-only replica")

	// ErrFailingOver: the server or cluster is starting, failing over, moving the slot or busy with a
	// script (LOADING, MASTERDOWN, CLUSTERDOWN, TRYAGAIN, MOVED, ASK, UNBLOCKED, BUSY, max clients).
	// Retry with back-off.
	ErrFailingOver = errors.New("the Redis server is starting, failing over or busy")

	// ErrNotPersisting: Redis cannot write to its disk and so refuses to change data (MISCONF). Only
	// its operator can help.
	ErrNotPersisting = errors.New("the Redis server cannot save to disk")

	// ErrTooFewReplicas: fewer replicas are in step than min-replicas-to-write asks for (NOREPLICAS).
	// Retry with back-off.
	ErrTooFewReplicas = errors.New("the Redis server has too few replicas in step")

	// ErrDenied: the Redis user may not do this, or did not log in (NOPERM, NOAUTH, WRONGPASS).
	// Correct the credentials or the ACL: a writer needs its state commands, and on its streams +multi
	// +exec +watch +unwatch +xadd +type +xlen, on its markers +get +set, on its layout +hmget; for
	// Wait +wait or +waitaof; on a cluster what go-redis asks for, +command and +cluster.
	ErrDenied = errors.New("the Redis user lacks a permission")

	// ErrWrongType: the key of the shard's stream holds another type. Find what wrote it, move it
	// away. It is a *PartialError, with the state committed, if the key changed its type after the
	// writer's last check.
	ErrWrongType = errors.New("the stream's key holds another type")

	// ErrConflict: a watched key was changed by others on each of Config.Attempts attempts. Nothing
	// was written; retry, or watch fewer keys.
	ErrConflict = errors.New("the watched keys kept changing")

	// ErrUnreachable: no connection, or it broke before EXEC was sent in full. Redis runs nothing
	// before it has read EXEC, so nothing was written. Retry with back-off.
	ErrUnreachable = errors.New("the Redis server is unreachable")

	// ErrNotExecuted: the caller's pipeline has not been executed, or failed before it was sent.
	ErrNotExecuted = errors.New("the transaction has not been executed")

	// ErrUnknownOutcome: the request was sent and the reply to EXEC was lost, so that the transaction
	// is committed as a whole or not at all, and the client cannot know which. Do not repeat it
	// blindly: the event could be appended twice. Repeat it with the idempotency key that it had;
	// without one, read the state back and decide. A context that ends while the request waits for a
	// connection counts as this too, since go-redis reports both alike.
	ErrUnknownOutcome = errors.New("the outcome of the transaction is unknown")

	// ErrNotWatching: Tx.Read was used in a transaction that watches no key, so that what it reads
	// could change before EXEC.
	ErrNotWatching = errors.New("reading needs a watched key")

	// ErrNotTransaction: Append was given a pipeline without MULTI and EXEC, so that state and event
	// would not be atomic.
	ErrNotTransaction = errors.New("not a transaction")
)

// ServerError is a transaction that Redis refused as a whole: nothing was written.
type ServerError struct {
	Kind  error // one of this package's sentinels, or nil for a reply that it does not know
	Reply error // what Redis said
}

func (e *ServerError) Error() string {
	if e.Kind == nil {
		return e.Reply.Error()
	}
	return fmt.Sprintf("%v: %v (%s)", e.Kind, e.Reply, advice[e.Kind])
}

// Unwrap makes errors.Is find both the kind and the reply.
func (e *ServerError) Unwrap() []error {
	if e.Kind == nil {
		return []error{e.Reply}
	}
	return []error{e.Kind, e.Reply}
}

var advice = map[error]string{
	ErrOutOfMemory:    "retry with back-off; check that relays run and trim, or raise maxmemory",
	ErrReadOnly:       "retry with back-off; if it stays, connect to the primary",
	ErrFailingOver:    "retry with back-off",
	ErrNotPersisting:  "see the Redis log and its disk",
	ErrTooFewReplicas: "retry with back-off; see min-replicas-to-write and the replicas",
	ErrDenied:         "correct the credentials or the ACL of this user",
	ErrWrongType:      "find what wrote the key and move it away",
	ErrUnreachable:    "retry with back-off",
}

// replies maps the beginning of a reply to its meaning. The first match wins.
var replies = []struct {
	prefix string
	kind   error
}{
	{"OOM ", ErrOutOfMemory},
	{"READONLY ", ErrReadOnly},
	{"LOADING ", ErrFailingOver},
	{"MASTERDOWN ", ErrFailingOver},
	{"CLUSTERDOWN ", ErrFailingOver},
	{"TRYAGAIN ", ErrFailingOver},
	{"MOVED ", ErrFailingOver},
	{"ASK ", ErrFailingOver},
	{"UNBLOCKED ", ErrFailingOver},
	{"BUSY ", ErrFailingOver},
	{"ERR max number of clients reached", ErrFailingOver},
	{"MISCONF ", ErrNotPersisting},
	{"NOREPLICAS ", ErrTooFewReplicas},
	{"NOPERM ", ErrDenied},
	{"NOAUTH ", ErrDenied},
	{"WRONGPASS ", ErrDenied},
	{"WRONGTYPE ", ErrWrongType},
}

// kindOf is the sentinel of a reply, or nil. A transaction that Redis drops at EXEC names its cause
// after "because of: ".
func kindOf(reply error) error {
	var server redis.Error
	if !errors.As(reply, &server) {
		return nil
	}
	text := server.Error()
	if strings.HasPrefix(text, "EXECABORT ") {
		if _, cause, ok := strings.Cut(text, "because of: "); ok {
			text = cause
		}
	}
	for _, r := range replies {
		if strings.HasPrefix(text, r.prefix) {
			return r.kind
		}
	}
	return nil
}

// refusal gives the failure of a request before EXEC its kind. Nothing was written. Replies of no
// known kind and the end of the caller's context stay what they are.
func refusal(err error) error {
	kind := kindOf(err)
	switch {
	case kind != nil:
		return &ServerError{Kind: kind, Reply: err}
	case isReply(err), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return &ServerError{Kind: ErrUnreachable, Reply: err}
}

// notConnected reports whether err proves that no connection was made or obtained.
func notConnected(err error) bool {
	if errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrPoolExhausted) ||
		errors.Is(err, redis.ErrClosed) {
		return true
	}
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// unsent reports whether err, as the last one of all attempts, proves that EXEC did not reach the
// server in full. EXEC is the last thing written, a connection on which a write failed is closed,
// and Redis forgets what a closed connection had queued.
func unsent(err error) bool {
	var op *net.OpError
	return notConnected(err) || errors.As(err, &op) && op.Op == "write"
}

// lostReply is the error when EXEC was sent and no reply came back.
func lostReply(err error) error {
	return fmt.Errorf(
		"%w: the reply to EXEC was lost: %w (repeat it only with its idempotency key, or after "+
			"reading the state back)",
		ErrUnknownOutcome, err)
}

// Outcome is what an error says about the transaction.
type Outcome int

const (
	// NotCommitted means that nothing was written, neither state nor event.
	NotCommitted Outcome = iota
	// Committed means that EXEC ran. With a *PartialError some of its commands failed.
	Committed
	// Unknown means that all of it was written, or nothing.
	Unknown
)

func (o Outcome) String() string {
	switch o {
	case Committed:
		return "committed"
	case Unknown:
		return "unknown"
	}
	return "not committed"
}

// OutcomeOf says what became of a transaction, given the error that Tx or Appended.Result returned;
// nil means Committed. For other errors its answer means nothing.
func OutcomeOf(err error) Outcome {
	var partial *PartialError
	var wait *WaitError
	switch {
	case err == nil, errors.As(err, &partial), errors.As(err, &wait):
		return Committed
	case errors.Is(err, ErrUnknownOutcome):
		return Unknown
	}
	return NotCommitted
}
