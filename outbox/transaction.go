package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Tx is a transaction in the making, valid only inside the function that Writer.Tx runs, and only
// in one goroutine.
type Tx struct {
	w       *Writer
	shard   *shard
	shards  int
	attempt int
	watch   []string
	marker  string // the key of the idempotency marker, or empty
	trace   trace

	pipe redis.Pipeliner
	read redis.Cmdable

	adds  [][]any  // the arguments of each XADD, without "more"
	ids   []string // len(ids) == len(adds)
	bytes int
	err   error // the first error of Append: it ends the transaction even if the caller ignores it
	sent  bool
}

// Read reads now, on the connection that watches the transaction's keys. Read only what is watched:
// the rest may change before EXEC. Every command fails with ErrNotWatching if the transaction
// watches no key.
func (tx *Tx) Read() redis.Cmdable { return tx.read }

// Queue collects the commands that change the state. They run at EXEC, in the order in which they
// were queued, and before the appends; their results are there when Writer.Tx has returned.
func (tx *Tx) Queue() redis.Pipeliner { return queue{tx.pipe} }

// Shard is the shard of the transaction.
func (tx *Tx) Shard() int { return tx.shard.index }

// Attempt counts the runs of the function in this transaction, from 1.
func (tx *Tx) Attempt() int { return tx.attempt }

// StateKey is a key for state in the hash slot of this transaction; see the function StateKey.
func (tx *Tx) StateKey(name string) string {
	return StateKey(tx.w.cfg.Outbox, tx.shard.index, name)
}

// Append adds events to the transaction, in this order. It checks them at once: *EventError,
// *LimitError and *ShardError mean that nothing will be sent, also if the caller ignores them. The
// payloads are not copied: leave them alone until Writer.Tx has returned.
func (tx *Tx) Append(events ...Event) error {
	if tx.err == nil {
		tx.err = tx.add(events)
	}
	return tx.err
}

func (tx *Tx) add(events []Event) error {
	if tx.sent {
		return errors.New("outbox: Append after the end of the transaction")
	}
	for i := range events {
		args, id, size, err := tx.w.encode(i, events[i], tx.shard, tx.shards, tx.trace)
		if err != nil {
			return err
		}
		tx.adds, tx.ids = append(tx.adds, args), append(tx.ids, id)
		tx.bytes += size
	}
	return tx.w.limits.transaction(len(tx.adds), tx.bytes)
}

func (tx *Tx) watchedKeys() []string {
	if tx.marker == "" {
		return tx.watch
	}
	return append(append(make([]string, 0, len(tx.watch)+1), tx.watch...), tx.marker)
}

// run calls the function and executes what it queued.
func (tx *Tx) run(ctx context.Context, fn func(*Tx) error) (Result, error) {
	res := Result{Shard: tx.shard.index}
	if err := fn(tx); err != nil {
		return res, &callerError{err}
	}
	if tx.err != nil {
		return res, tx.err
	}
	state := tx.pipe.Cmds()
	if len(state) == 0 && len(tx.adds) == 0 {
		return res, nil
	}
	if err := tx.w.checkSlots(ctx, tx.shard.stream, state, nil); err != nil {
		return res, err
	}
	if err := ctx.Err(); err != nil {
		return res, err
	}
	tx.sent = true
	if tx.marker != "" {
		tx.pipe.Set(ctx, tx.marker, encodeMarker(tx.ids), tx.w.cfg.IdempotencyTTL)
	}
	appends := queueAppends(ctx, tx.pipe, tx.adds)
	cmds, err := tx.pipe.Exec(ctx)
	res.Events = tx.ids
	res.Entries, err = tx.w.settled(tx.shard, err, cmds, appends)
	return res, err
}

// encode checks an event, gives it an ID if it has none, and turns it into the arguments of its
// XADD, without "more".
func (w *Writer) encode(index int, e Event, sh *shard, shards int,
	t trace,
) (args []any, id string, size int, err error) {
	if size, err = w.limits.check(index, &e); err != nil {
		return nil, "", 0, err
	}
	if at := Shard(e.RoutingKey(), shards); at != sh.index {
		return nil, "", 0, &ShardError{Index: index, Key: e.RoutingKey(), Shard: at, Want: sh.index}
	}
	if e.ID == "" {
		if e.ID, err = newID(); err != nil {
			return nil, "", 0, err
		}
	}
	args = append(make([]any, 0, entryCapacity), "xadd", sh.stream, "*")
	return appendEntry(args, e, t, 0), e.ID, size, nil
}

// queueAppends queues the XADDs, with "more" on all but the last.
func queueAppends(ctx context.Context, pipe redis.Pipeliner, adds [][]any) []*redis.StringCmd {
	cmds := make([]*redis.StringCmd, len(adds))
	for i, args := range adds {
		cmds[i] = redis.NewStringCmd(ctx, withMore(args, len(adds)-1-i)...)
		_ = pipe.Process(ctx, cmds[i])
	}
	return cmds
}

// settled turns the replies to a transaction into its entry IDs or its error. It also learns from
// them whether the stream's key holds a stream.
func (w *Writer) settled(sh *shard, execErr error, cmds []redis.Cmder,
	appends []*redis.StringCmd,
) ([]string, error) {
	if err := settle(execErr, cmds, appends); err != nil {
		var partial *PartialError
		if errors.As(err, &partial) && partial.Missing > 0 || errors.Is(err, ErrWrongType) {
			w.forget(sh)
		}
		return nil, err
	}
	if len(appends) == 0 {
		return nil, nil
	}
	entries := make([]string, len(appends))
	for i, a := range appends {
		if entries[i] = a.Val(); entries[i] == "" { // a hook of the client that answers by itself
			return nil, fmt.Errorf("%w: the client gives no reply to XADD", ErrUnknownOutcome)
		}
	}
	w.proven(sh)
	return entries, nil
}

// ShardError says that an event belongs to another shard than its transaction, so that one EXEC
// cannot be guaranteed to keep both in order. Nothing was sent. Use a transaction for each key.
type ShardError struct {
	Index int    // of the event among the arguments of its Append
	Key   string // its key
	Shard int    // the shard of that key
	Want  int    // the shard of the transaction
}

func (e *ShardError) Error() string {
	return fmt.Sprintf(
		"event %d: its key %q belongs to shard %d, the transaction to shard %d: all events of a "+
			"transaction need one shard",
		e.Index, e.Key, e.Shard, e.Want)
}

// queue is the caller's view of the transaction's pipeline: executing it is the writer's part.
type queue struct{ redis.Pipeliner }

var errExecInTx = errors.New(
	"outbox: the transaction is executed by Writer.Tx, when its function returns")

func (q queue) Exec(context.Context) ([]redis.Cmder, error) { return nil, errExecInTx }
func (q queue) Pipeline() redis.Pipeliner                   { return q }
func (q queue) TxPipeline() redis.Pipeliner                 { return q }

func (q queue) Pipelined(_ context.Context, fn func(redis.Pipeliner) error) ([]redis.Cmder, error) {
	return nil, fn(q) // it queues, as everything does here
}

func (q queue) TxPipelined(ctx context.Context,
	fn func(redis.Pipeliner) error,
) ([]redis.Cmder, error) {
	return q.Pipelined(ctx, fn)
}

// reader is the caller's view of the watching connection. A MULTI on it would end the watch.
type reader struct{ redis.Cmdable }

func (r reader) TxPipeline() redis.Pipeliner { return queue{r.Cmdable.Pipeline()} }

func (r reader) TxPipelined(context.Context, func(redis.Pipeliner) error) ([]redis.Cmder, error) {
	return nil, errExecInTx
}

// notWatching is a client whose every command fails before it touches a connection.
var notWatching = sync.OnceValue(func() redis.Cmdable {
	c := redis.NewClient(&redis.Options{Addr: "not-watching:0", MaxRetries: -1})
	c.AddHook(refuseAll{})
	return c
})

type refuseAll struct{}

func (refuseAll) DialHook(next redis.DialHook) redis.DialHook { return next }

func (refuseAll) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error {
		cmd.SetErr(ErrNotWatching)
		return ErrNotWatching
	}
}

func (refuseAll) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(_ context.Context, cmds []redis.Cmder) error {
		for _, c := range cmds {
			c.SetErr(ErrNotWatching)
		}
		return ErrNotWatching
	}
}
