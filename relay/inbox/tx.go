package inbox

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/outbox"
)

// Tx takes the effects of one record. It is valid only inside the handler that it was given to, and
// in one goroutine.
type Tx struct {
	t       *transaction
	ctx     context.Context // the handler's; Read and Append have none of their own
	offset  int64
	attempt int
	// the first error of Append or Read: it ends the record even if the handler ignores it
	err error
}

// Queue collects the commands that change the state. They run in one EXEC with the position, in the
// order in which they were queued, often together with those of other records. Their results are
// not there before the handler returns.
func (tx *Tx) Queue() redis.Pipeliner { return queue{tx.t.scratch} }

// Read reads now. Everything that earlier records have queued is committed first, so that it is
// seen; what this call of the handler has queued is not. A handler that reads therefore has a
// transaction for each record. The keys are watched: if one changes before EXEC the handler runs
// again. Without keys a change by others between the reading and EXEC goes unnoticed, which is fine
// for state that only this inbox writes.
func (tx *Tx) Read(watch ...string) redis.Cmdable {
	if tx.err == nil {
		tx.err = tx.t.read(watch)
	}
	tx.t.refusing = tx.err
	return reader{tx.t.conn}
}

// StateKey is a key in the hash slot of the record's partition: "{shipping:3}:name". On a Redis
// Cluster every key has to be made like this; elsewhere any key will do.
func (tx *Tx) StateKey(name string) string { return tx.t.p.keys.state(name) }

// Attempt counts the runs of the handler for this record that failed by an error of its own, from
// 1.
func (tx *Tx) Attempt() int { return tx.attempt }

// Append adds events to the outbox of Config.Outbox, in the same EXEC. On a Redis Cluster their
// keys must belong to the shard of this partition, as the record's own key does. An error that is
// an event's own ends the record as if the handler had returned it, also if the handler ignores it.
func (tx *Tx) Append(events ...outbox.Event) error {
	if tx.err == nil && len(events) > 0 {
		tx.err = tx.t.append(tx.ctx, events)
	}
	return tx.err
}

func (t *transaction) append(ctx context.Context, events []outbox.Event) error {
	w := t.p.in.writer
	if w == nil {
		return errNoOutbox
	}
	if t.p.in.slots.required {
		shard := int(t.p.number) % t.p.layout.Slots
		for i, e := range events {
			if at := outbox.Shard(e.RoutingKey(), t.p.layout.Slots); e.RoutingKey() != "" && at != shard {
				return &outbox.ShardError{Index: i, Key: e.RoutingKey(), Shard: at, Want: shard}
			}
		}
	}
	appended, err := w.Append(ctx, t.scratch, events...)
	if err != nil {
		if !isEventError(err) {
			t.broken = fmt.Errorf("outbox %s: %w", t.p.in.cfg.Outbox, err)
		}
		return err
	}
	t.fresh = append(t.fresh, appended)
	return nil
}

// read makes what is queued visible, and watches keys. Its errors are the server's, a lost race, or
// a key elsewhere.
func (t *transaction) read(watch []string) error {
	if !t.hooked {
		t.hooked = true
		t.conn.AddHook(notice{t})
	}
	fail := func(err error) error {
		t.broken = err
		return err
	}
	if err := t.p.in.slots.checkKeys(t.p.keys.tag, "watch", watch); err != nil {
		return fail(t.p.halt(-1, err.Error(), "", ""))
	}
	if len(t.records) > 0 {
		if err := t.commit(); err != nil {
			return fail(err)
		}
		if err := t.conn.Watch(t.hard, t.p.keys.position).Err(); err != nil {
			return fail(fmt.Errorf("redis: WATCH: %w", err))
		}
		if err := t.recognise(); err != nil {
			return fail(err)
		}
	}
	if len(watch) > 0 {
		t.watching = true
		if err := t.conn.Watch(t.hard, watch...).Err(); err != nil {
			return fail(fmt.Errorf("redis: WATCH: %w", err))
		}
	}
	return nil
}

// notice remembers that a command of the handler failed because of the server. The error that the
// handler makes of it is then not held against the record. It also refuses commands of a handler
// that must not go on.
type notice struct{ t *transaction }

func (notice) DialHook(next redis.DialHook) redis.DialHook { return next }

func (n notice) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := n.t.refusing; err != nil {
			cmd.SetErr(err)
			return err
		}
		err := next(ctx, cmd)
		n.saw(err)
		return err
	}
}

func (n notice) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if err := n.t.refusing; err != nil {
			for _, c := range cmds {
				c.SetErr(err)
			}
			return err
		}
		err := next(ctx, cmds)
		n.saw(err)
		for _, c := range cmds {
			n.saw(c.Err())
		}
		return err
	}
}

func (n notice) saw(err error) {
	if n.t.broken == nil && isServerState(err) {
		n.t.broken = fmt.Errorf("redis: %w", err)
	}
}

// queue is the handler's view of the pipeline: executing it is the inbox's part.
type queue struct{ redis.Pipeliner }

func (q queue) Exec(context.Context) ([]redis.Cmder, error) { return nil, errInTx }
func (q queue) Pipeline() redis.Pipeliner                   { return q }
func (q queue) TxPipeline() redis.Pipeliner                 { return q }

func (q queue) Pipelined(_ context.Context, fn func(redis.Pipeliner) error) ([]redis.Cmder, error) {
	return nil, fn(q)
}

func (q queue) TxPipelined(ctx context.Context,
	fn func(redis.Pipeliner) error,
) ([]redis.Cmder, error) {
	return q.Pipelined(ctx, fn)
}

// reader is the handler's view of the watching connection. A MULTI on it would end the watch.
type reader struct{ redis.Cmdable }

func (r reader) TxPipeline() redis.Pipeliner { return queue{r.Cmdable.Pipeline()} }

func (r reader) TxPipelined(context.Context, func(redis.Pipeliner) error) ([]redis.Cmder, error) {
	return nil, errInTx
}
