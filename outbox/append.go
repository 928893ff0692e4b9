package outbox

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

// Appended are events on their way in a transaction that the caller executes.
type Appended struct {
	w       *Writer
	shard   *shard
	before  []redis.Cmder // what the caller had queued before the events
	appends []*redis.StringCmd
	events  []string
}

// Append queues events on a transaction of the caller: the pipeline of TxPipeline or TxPipelined,
// of the client or of a *redis.Tx inside Watch. Nothing is sent before the caller executes it, and
// only Appended.Result says whether the events were appended:
//
//	pipe := client.TxPipeline()
//	pipe.Set(ctx, "order:42", "placed", 0)
//	appended, err := writer.Append(ctx, pipe, event)
//	if err != nil {
//		return err // nothing was queued
//	}
//	if _, err := pipe.Exec(ctx); err != nil {
//		log.Print(err) // Result has the same, explained
//	}
//	res, err := appended.Result()
//
// The events must have keys of one shard, and so must those of several Appends to one pipeline. The
// events of one Append are delivered together as a group: put all events of a transaction into one
// Append if they are to stay together. Queue the changes of state first: the keys of commands that
// are queued already are checked as in Tx. Config.Wait does not apply: see Wait.Confirm.
//
// The error is one of Tx.Append, one of the layout, or says that the stream cannot take events. It
// is ErrNotTransaction if pipe is a pipeline without MULTI, as far as go-redis shows it.
func (w *Writer) Append(ctx context.Context, pipe redis.Pipeliner,
	events ...Event,
) (*Appended, error) {
	if len(events) == 0 {
		return nil, errors.New("outbox: Append without events")
	}
	known, err := w.known(ctx)
	if err != nil {
		return nil, err
	}
	sh := known.shards[Shard(events[0].RoutingKey(), known.layout.Shards)]
	if _, _, err := w.inspect(ctx, w.client, sh, ""); err != nil {
		return nil, err
	}
	return w.join(ctx, pipe, known, sh, "", events)
}

func (w *Writer) join(ctx context.Context, pipe redis.Pipeliner, known *knownLayout, sh *shard,
	marker string, events []Event,
) (*Appended, error) {
	if err := checkTransactional(pipe); err != nil {
		return nil, err
	}
	before := slices.Clone(pipe.Cmds())
	if err := w.checkSlots(ctx, sh.stream, before, nil); err != nil {
		return nil, err
	}
	t := traceOf(ctx, w.cfg.TraceContext)
	adds, ids, bytes := make([][]any, len(events)), make([]string, len(events)), 0
	for i, e := range events {
		args, id, size, err := w.encode(i, e, sh, known.layout.Shards, t)
		if err != nil {
			return nil, err
		}
		adds[i], ids[i] = args, id
		bytes += size
	}
	if err := w.limits.transaction(len(adds), bytes); err != nil {
		return nil, err
	}
	if marker != "" {
		before = append(before, pipe.Set(ctx, marker, encodeMarker(ids), w.cfg.IdempotencyTTL))
	}
	return &Appended{
		w: w, shard: sh, before: before, appends: queueAppends(ctx, pipe, adds),
		events: ids,
	}, nil
}

// Result says what became of the events. Call it after the pipeline was executed. Its errors are
// those of Writer.Tx, except that a lost optimistic lock is redis.TxFailedErr, and ErrNotExecuted
// if EXEC has not run or its connection could not be set up.
func (a *Appended) Result() (Result, error) {
	res := Result{Shard: a.shard.index, Events: a.events, Attempts: 1}
	cmds := slices.Clone(a.before)
	for _, c := range a.appends {
		if c.Err() == nil && c.Val() == "" {
			return res, fmt.Errorf("%w: call Exec first, and see its error", ErrNotExecuted)
		}
		cmds = append(cmds, c)
	}
	// The commands keep the error of a failed write even if go-redis then sent them again. So that
	// error proves nothing here.
	failure := firstFailure(cmds)
	if failure != nil && !isReply(failure) && !notConnected(failure) {
		return res, lostReply(failure)
	}
	var err error
	res.Entries, err = a.w.settled(a.shard, failure, cmds, a.appends)
	return res, err
}

// Err is the error of Result.
func (a *Appended) Err() error {
	_, err := a.Result()
	return err
}

// checkTransactional refuses a pipeline that would not be wrapped in MULTI and EXEC. go-redis has
// one type for both, so the only trace of the difference is the function that executes it. If its
// name says nothing, the caller is believed.
func checkTransactional(pipe redis.Pipeliner) error {
	switch p := pipe.(type) {
	case queue:
		return fmt.Errorf("%w of its own: inside Writer.Tx use Tx.Append", ErrNotTransaction)
	case *redis.Pipeline:
		exec := reflect.ValueOf(p).Elem().FieldByName("exec")
		if exec.Kind() != reflect.Func || exec.IsNil() {
			return nil
		}
		fn := runtime.FuncForPC(exec.Pointer())
		if fn == nil {
			return nil
		}
		name := fn.Name()[strings.LastIndexByte(fn.Name(), '/')+1:]
		if strings.Contains(name, "Pipeline") && !strings.Contains(name, "TxPipeline") {
			return fmt.Errorf("%w: use TxPipeline or TxPipelined instead of Pipeline or Pipelined",
				ErrNotTransaction)
		}
	}
	return nil
}

func withMore(args []any, more int) []any {
	if more == 0 {
		return args
	}
	return append(args, FieldMore, strconv.Itoa(more))
}

func newID() (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("outbox: generate an event ID: %w", err)
	}
	return id.String(), nil
}
