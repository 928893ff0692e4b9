package outbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"
)

// Result is what a transaction did. Events and Entries are in the order in which the events were appended.
type Result struct {
	Shard   int
	Events  []string // IDs of the events
	Entries []string // entry IDs in the shard's stream; nil if AlreadyAppended
	// AlreadyAppended is true if a transaction with the same idempotency key was committed before, perhaps by an earlier
	// attempt whose reply was lost: this one wrote nothing, and its function may not have run. Events are then those of
	// the earlier one, or nil if they were too many to remember.
	AlreadyAppended bool
	Attempts        int // how often the transaction was tried, 1 if nothing was in the way
}

// TxOptions are the arguments of TxWith.
type TxOptions struct {
	// Key decides the shard: the key of the events to append. Required.
	Key string

	// Watch are the keys that the function reads: EXEC does nothing if one of them was changed since.
	Watch []string

	// IdempotencyKey names the transaction, 1 to 200 bytes of UTF-8 without control characters: of transactions of one
	// shard with the same one only the first is committed, for Config.IdempotencyTTL. It makes a repetition safe, also
	// after an error that wraps ErrUnknownOutcome, and lets the writer itself repeat what got no reply. It costs two more round trips.
	IdempotencyKey string

	// Wait overrides Config.Wait, unless it is zero.
	Wait Wait
}

// Tx runs a transaction: fn queues the changes of state and appends the events, then everything is sent as one
// MULTI/EXEC. All of it is committed or nothing. key decides the shard; all events must belong to it.
//
// Without watch it takes one round trip, and fn cannot read. With watch, fn reads with Tx.Read, and runs again, up to
// Config.Attempts times, if one of the watched keys was changed before EXEC: it must not have other effects than on tx. An
// error of fn ends the transaction, with nothing sent, and is returned as it is.
//
// After an error OutcomeOf tells whether something was written. A lost reply is never followed by a blind second EXEC: see ErrUnknownOutcome.
func (w *Writer) Tx(ctx context.Context, key string, fn func(*Tx) error, watch ...string) (Result, error) {
	return w.TxWith(ctx, TxOptions{Key: key, Watch: watch}, fn)
}

// maxLostReplies bounds how often a transaction with an idempotency key is repeated because a reply was lost: each
// can take as long as the client's read timeout.
const maxLostReplies = 3

// TxWith is Tx with more to say.
func (w *Writer) TxWith(ctx context.Context, o TxOptions, fn func(*Tx) error) (Result, error) {
	if o.Key == "" {
		return Result{}, errors.New("outbox: the key of the transaction is empty")
	}
	if o.IdempotencyKey != "" {
		if err := checkIdempotencyKey(o.IdempotencyKey); err != nil {
			return Result{}, err
		}
	}
	if !o.Wait.needed() {
		o.Wait = w.cfg.Wait
	}
	var unknown error // that of an attempt whose reply was lost; a later attempt that commits settles it
	for attempt, lost := 1, 0; ; attempt++ {
		res, err := w.attempt(ctx, o, fn, attempt)
		res.Attempts = attempt
		next := w.judge(err, o.IdempotencyKey != "", unknown != nil)
		if errors.Is(err, ErrUnknownOutcome) {
			unknown = err
		}
		if next == afterLostReply {
			if lost++; lost > maxLostReplies {
				next = stop
			}
		}
		if next == stop || attempt == w.cfg.Attempts {
			return res, conclude(err, unknown, attempt)
		}
		if next == afterMove {
			w.cluster.ReloadState(ctx)
		}
		if err := pause(ctx, attempt, next); err != nil {
			return res, fmt.Errorf("%w; not repeated: %w", conclude(err, unknown, attempt), err)
		}
	}
}

// What follows an attempt.
type verdict int

const (
	stop           verdict = iota
	afterConflict          // another transaction was faster: try again soon
	afterMove              // the cluster is moving the slot: ask it where, try again soon
	afterLostReply         // the marker of the idempotency key will tell, as soon as the server can be asked
)

// judge is the one place that decides what is tried again. Everything else is the caller's decision: how long a failover
// or a full memory may hold him up is not known here.
func (w *Writer) judge(err error, idempotent, lostBefore bool) verdict {
	var fromFn *callerError
	switch {
	case err == nil, errors.As(err, &fromFn):
		return stop
	case errors.Is(err, redis.TxFailedErr):
		return afterConflict
	case idempotent && (errors.Is(err, ErrUnknownOutcome) || lostBefore && errors.Is(err, ErrUnreachable)):
		return afterLostReply
	case w.cluster != nil && slotMoved(err):
		return afterMove
	}
	return stop
}

// conclude is the error of the last attempt, with what earlier ones leave open: if the reply to one was lost, a later one
// that did not commit says nothing about it.
func conclude(err, unknown error, attempts int) error {
	var fromFn *callerError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &fromFn):
		err = fromFn.err
	case errors.Is(err, redis.TxFailedErr):
		err = fmt.Errorf("%w: nothing was written in %d attempts: %w", ErrConflict, attempts, err)
	}
	if unknown != nil && !errors.Is(err, ErrUnknownOutcome) && OutcomeOf(err) != Committed {
		return fmt.Errorf("%w; repeated: %w", unknown, err)
	}
	return err
}

// attempt runs the transaction once. What needs one connection for several requests (WATCH, WAIT) takes it through the
// client's Watch.
func (w *Writer) attempt(ctx context.Context, o TxOptions, fn func(*Tx) error, n int) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	known, err := w.known(ctx)
	if err != nil {
		return Result{}, err
	}
	sh := known.shards[Shard(o.Key, known.layout.Shards)]
	tx := &Tx{w: w, shard: sh, shards: known.layout.Shards, attempt: n, watch: o.Watch, trace: traceOf(ctx, w.cfg.TraceContext)}

	if len(o.Watch) == 0 && o.IdempotencyKey == "" && !o.Wait.needed() {
		if _, _, err := w.inspect(ctx, w.client, sh, ""); err != nil {
			return Result{Shard: sh.index}, err
		}
		tx.pipe, tx.read = w.client.TxPipeline(), notWatching()
		return tx.run(ctx, fn)
	}

	if o.IdempotencyKey != "" {
		tx.marker = MarkerKey(w.cfg.Outbox, sh.index, o.IdempotencyKey)
	}
	if err := w.checkSlots(ctx, sh.stream, nil, o.Watch); err != nil {
		return Result{Shard: sh.index}, err
	}
	return w.onOneConnection(ctx, tx, o.Wait, fn)
}

func (w *Writer) onOneConnection(ctx context.Context, tx *Tx, wait Wait, fn func(*Tx) error) (res Result, err error) {
	res.Shard = tx.shard.index
	entered := false
	body := func(conn *redis.Tx) error {
		entered = true
		found, value, err := w.inspect(ctx, conn, tx.shard, tx.marker)
		switch {
		case err != nil:
			return err
		case found:
			res.AlreadyAppended, res.Events = true, decodeMarker(value)
			return nil
		}
		tx.pipe, tx.read = conn.TxPipeline(), notWatching()
		if len(tx.watch) > 0 {
			tx.read = reader{conn}
		}
		if res, err = tx.run(ctx, fn); err != nil || !tx.sent {
			return err
		}
		return wait.Confirm(ctx, conn)
	}
	err = w.watchKeys(ctx, tx.shard.stream, body, tx.watchedKeys())
	switch {
	case entered:
	case err == nil:
		// A go-redis ClusterClient that was redirected too often returns nil from Watch without having called its function.
		err = &ServerError{Kind: ErrFailingOver, Reply: errRedirected}
	default:
		err = refusal(err) // WATCH itself failed: nothing was sent behind it
	}
	return res, err
}

var errRedirected = errors.New("WATCH was redirected from node to node")

// watchKeys takes a connection to the server that owns the stream, and watches the keys on it.
func (w *Writer) watchKeys(ctx context.Context, stream string, body func(*redis.Tx) error, keys []string) error {
	if w.cluster == nil || len(keys) > 0 {
		return w.client.Watch(ctx, body, keys...)
	}
	node, err := w.cluster.MasterForKey(ctx, stream)
	if err != nil {
		return err
	}
	return node.Watch(ctx, body)
}

// slotMoved reports whether a cluster refused the transaction because the slot is elsewhere or on its way.
func slotMoved(err error) bool {
	return errors.Is(err, errRedirected) || redis.HasErrorPrefix(err, "MOVED ") || redis.HasErrorPrefix(err, "ASK ") || redis.HasErrorPrefix(err, "TRYAGAIN ")
}

// pause waits between attempts: 1 to 2 ms, doubled each time up to 64 to 128 ms, so that writers that met do not meet
// again; 25 times that after a lost reply, since something is wrong with the server or the network.
func pause(ctx context.Context, attempt int, why verdict) error {
	base := time.Millisecond << min(attempt-1, 6)
	if why == afterLostReply {
		base = min(25*base, time.Second)
	}
	t := time.NewTimer(base + rand.N(base))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// callerError carries an error of the caller's function through the writer, so that it is not taken for one of its own.
type callerError struct{ err error }

func (e *callerError) Error() string { return e.err.Error() }
