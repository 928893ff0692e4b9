package outbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"
)

// Result is what a transaction did. Events and Entries are in the order in which the events were
// appended.
type Result struct {
	Shard   int
	Events  []string // IDs of the events
	Entries []string // entry IDs in the shard's stream; nil if AlreadyAppended
	// AlreadyAppended is true if a transaction with the same idempotency key was committed before,
	// perhaps by an earlier attempt whose reply was lost. This one wrote nothing, and its function may
	// not have run. Events are those of the earlier one, or nil if they were too many to remember.
	AlreadyAppended bool
	Attempts        int // how often the transaction was tried, 1 if nothing was in the way
}

// Tx runs a transaction. fn queues the changes of state on tx.Queue and appends the events with
// tx.Append; then the writer sends everything as one MULTI/EXEC. All of it is committed or nothing.
// key decides the shard, and all events must belong to it.
//
// Without options it takes one round trip, and fn cannot read. [WithWatch] lets fn read,
// [WithIdempotencyKey] makes a repetition safe, [WithWait] waits for replicas or disks. With the
// first two fn may run several times, up to Config.Attempts: it must have no effect but on tx.
//
// An error of fn ends the transaction before anything is sent, and is returned as it is. After any
// other error [OutcomeOf] says whether something was written. A lost reply is never followed by a
// blind second EXEC: see [ErrUnknownOutcome].
func (w *Writer) Tx(ctx context.Context, key string, fn func(*Tx) error,
	opts ...TxOption,
) (Result, error) {
	if key == "" {
		return Result{}, errors.New("outbox: the key of the transaction is empty")
	}
	o := txOptions{wait: w.cfg.Wait}
	for _, set := range opts {
		if err := set(&o); err != nil {
			return Result{}, err
		}
	}
	idempotent := o.idempotencyKey != ""
	var unknown error // of an attempt whose reply was lost; a later attempt that commits settles it
	for attempt, lost := 1, 0; ; attempt++ {
		res, err := w.attempt(ctx, key, o, fn, attempt)
		res.Attempts = attempt
		why := w.retry(err, idempotent, unknown != nil)
		if errors.Is(err, ErrUnknownOutcome) {
			unknown = err
		}
		if why == afterLostReply {
			if lost++; lost > maxLostReplies {
				why = noRetry
			}
		}
		if why == noRetry || attempt == w.cfg.Attempts {
			return res, conclude(err, unknown, attempt)
		}
		if why == afterMove {
			w.cluster.ReloadState(ctx)
		}
		if err := pause(ctx, attempt, why); err != nil {
			return res, fmt.Errorf("%w; not repeated: %w", conclude(err, unknown, attempt), err)
		}
	}
}

// maxLostReplies bounds how often a transaction with an idempotency key is repeated because a reply
// was lost: each repetition can take as long as the client's read timeout.
const maxLostReplies = 3

// retryReason is why an attempt is followed by another one.
type retryReason int

const (
	noRetry        retryReason = iota
	afterConflict              // another transaction was faster: try again soon
	afterMove                  // the cluster is moving the slot: ask it where to, try again soon
	afterLostReply             // the marker of the idempotency key tells, once the server answers
)

// retry is the one place that decides what is tried again. Everything else is the caller's
// decision: the writer does not know how long a failover or a full memory may hold the caller up.
func (w *Writer) retry(err error, idempotent, lostBefore bool) retryReason {
	var fromFn *callerError
	switch {
	case err == nil, errors.As(err, &fromFn):
		return noRetry
	case errors.Is(err, redis.TxFailedErr):
		return afterConflict
	case idempotent && (errors.Is(err, ErrUnknownOutcome) ||
		lostBefore && errors.Is(err, ErrUnreachable)):
		return afterLostReply
	case w.cluster != nil && slotMoved(err):
		return afterMove
	}
	return noRetry
}

// conclude is the error of the last attempt, with what earlier ones leave open: if the reply to one
// was lost, a later one that did not commit says nothing about it.
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

// attempt runs the transaction once. What needs one connection for several requests (WATCH, WAIT)
// gets it from the client's Watch.
func (w *Writer) attempt(ctx context.Context, key string, o txOptions, fn func(*Tx) error,
	n int,
) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	known, err := w.known(ctx)
	if err != nil {
		return Result{}, err
	}
	sh := known.shards[Shard(key, known.layout.Shards)]
	tx := &Tx{
		w: w, shard: sh, shards: known.layout.Shards, attempt: n, watch: o.watch,
		trace: traceOf(ctx, w.cfg.TraceContext),
	}

	if len(o.watch) == 0 && o.idempotencyKey == "" && !o.wait.needed() {
		if _, _, err := w.inspect(ctx, w.client, sh, ""); err != nil {
			return Result{Shard: sh.index}, err
		}
		tx.pipe, tx.read = w.client.TxPipeline(), notWatching()
		return tx.run(ctx, fn)
	}

	if o.idempotencyKey != "" {
		tx.marker = MarkerKey(w.cfg.Outbox, sh.index, o.idempotencyKey)
	}
	if err := w.checkSlots(ctx, sh.stream, nil, o.watch); err != nil {
		return Result{Shard: sh.index}, err
	}
	return w.onOneConnection(ctx, tx, o.wait, fn)
}

func (w *Writer) onOneConnection(ctx context.Context, tx *Tx, wait Wait,
	fn func(*Tx) error,
) (res Result, err error) {
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
		// A go-redis ClusterClient that was redirected too often returns nil from Watch without having
		// called its function.
		err = &ServerError{Kind: ErrFailingOver, Reply: errRedirected}
	default:
		err = refusal(err) // WATCH itself failed: nothing was sent after it
	}
	return res, err
}

var errRedirected = errors.New("WATCH was redirected from node to node")

// watchKeys takes a connection to the server that owns the stream, and watches the keys on it.
func (w *Writer) watchKeys(ctx context.Context, stream string, body func(*redis.Tx) error,
	keys []string,
) error {
	if w.cluster == nil || len(keys) > 0 {
		return w.client.Watch(ctx, body, keys...)
	}
	node, err := w.cluster.MasterForKey(ctx, stream)
	if err != nil {
		return err
	}
	return node.Watch(ctx, body)
}

// slotMoved reports whether a cluster refused the transaction because the slot is elsewhere or on
// its way.
func slotMoved(err error) bool {
	return errors.Is(err, errRedirected) || redis.HasErrorPrefix(err, "MOVED ") ||
		redis.HasErrorPrefix(err, "ASK ") || redis.HasErrorPrefix(err, "TRYAGAIN ")
}

// pause waits between attempts: 1 to 2 ms, doubled each time up to 64 to 128 ms, so that writers
// that collided do not collide again. After a lost reply it waits 25 times as long, since something
// is wrong with the server or the network.
func pause(ctx context.Context, attempt int, why retryReason) error {
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

// callerError carries an error of the caller's function through the writer, so that it is not taken
// for one of its own.
type callerError struct{ err error }

func (e *callerError) Error() string { return e.err.Error() }
