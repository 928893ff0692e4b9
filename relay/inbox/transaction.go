package inbox

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/outbox"
)

// transaction runs the handler on records and commits their effects with the position. It has one
// connection, which watches the position from before the first handler's call to EXEC. A handler
// that reads has it commit in between; what lies between two commits is a segment.
//
//	done <= passed, both in records from the first one on
type transaction struct {
	p     *partition
	soft  context.Context // its end is a wish to stop
	hard  context.Context // its end stops at once
	conn  *redis.Tx
	began time.Time
	done  int // records that are committed
	// replaying: what takes effect is a dead letter, so the position does not move.
	replaying bool
	partial   bool  // a record took effect in part
	dead      error // of an EXEC that failed: nothing watches any more, so there is no other

	// The segment.
	records  []*kgo.Record // passed and not committed
	cmds     []redis.Cmder
	owners   []int // of each command: the index of its record in records
	letters  []*letter
	parked   map[string]parkedKey // changes
	extra    func(redis.Pipeliner)
	appended []*outbox.Appended
	types    map[string]string
	watching bool // keys of a handler's

	// Of the handler that runs now.
	scratch redis.Pipeliner
	fresh   []*outbox.Appended
	broken  error // a server's failure, or a lost race, that the handler met
	// refusing is why the handler must not read any more; only while it runs, since the connection
	// has to be unwatched after it.
	refusing error
	hooked   bool
}

// transact applies as many of the records as fit, and says how many it has committed. forced is the
// failure by which the first of them is condemned.
func (p *partition) transact(soft, hard context.Context, records []*kgo.Record,
	forced *failure,
) (done int, err error) {
	t := &transaction{p: p, soft: soft, hard: hard, began: time.Now()}
	err = p.watch(hard, func(conn *redis.Tx) error {
		t.conn, t.scratch = conn, conn.TxPipeline()
		return t.run(records, forced)
	})
	return t.done, err
}

// watch runs fn on a connection that watches the position.
func (p *partition) watch(ctx context.Context, fn func(*redis.Tx) error) error {
	ran := false
	err := p.in.cfg.Redis.Watch(ctx, func(conn *redis.Tx) error {
		ran = true
		return fn(conn)
	}, p.keys.position)
	if p.in.cluster != nil && (redis.HasErrorPrefix(err, "MOVED ") ||
		redis.HasErrorPrefix(err, "ASK ")) {
		p.in.cluster.ReloadState(ctx) // it sees nothing of what a connection that watches is told
	}
	switch {
	case ran:
		return err
	case err == nil:
		return errMoving // a ClusterClient that was redirected too often
	}
	return fmt.Errorf("redis: WATCH %s: %w", p.keys.position, err)
}

func (t *transaction) run(records []*kgo.Record, forced *failure) error {
	if err := t.recognise(); err != nil {
		return err
	}
	var stop error
	for _, r := range records {
		if len(t.records) > 0 && (t.soft.Err() != nil || t.watching ||
			time.Since(t.began) > t.p.in.cfg.MaxTime) {
			break
		}
		if stop = t.pass(r, forced); stop != nil {
			break
		}
		forced = nil
	}
	var f *failure
	if stop != nil && !errors.As(stop, &f) {
		return stop
	}
	if err := t.commit(); err != nil {
		return err
	}
	return stop
}

// recognise compares the position in Redis, which is watched now, with the one that this instance
// knows.
func (t *transaction) recognise() error {
	found, err := t.conn.Get(t.hard, t.p.keys.position).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("redis: GET %s: %w", t.p.keys.position, err)
	}
	return t.p.recognise(found)
}

// recognise says whether a position that was found in Redis is the one that this instance knows.
func (p *partition) recognise(found string) error {
	if found != p.raw {
		return fmt.Errorf("%w: expected %s, found %s", errOvertaken, orNone(p.raw), orNone(found))
	}
	return nil
}

func orNone(raw string) string {
	if raw == "" {
		return "none"
	}
	return raw
}

// pass puts a record into the segment: its effects, or a dead letter.
func (t *transaction) pass(r *kgo.Record, forced *failure) error {
	if forced != nil {
		return t.condemn(r, forced)
	}
	if t.isParked(r) {
		t.park(r, &failure{
			offset: r.Offset, reason: Parked,
			err: errors.New("an earlier record of its key is parked"),
		})
		t.records = append(t.records, r)
		return nil
	}
	cmds, err := t.handle(r)
	if err != nil {
		return err
	}
	at := len(t.records)
	t.records = append(t.records, r)
	t.cmds = append(t.cmds, cmds...)
	for range cmds {
		t.owners = append(t.owners, at)
	}
	t.appended = append(t.appended, t.fresh...)
	t.scratch.Discard()
	return nil
}

// condemn makes a record a dead letter, and parks its key by policy.
func (t *transaction) condemn(r *kgo.Record, f *failure) error {
	if t.p.in.cfg.OnError == Park && r.Key != nil {
		t.park(r, f)
	} else {
		t.letters = append(t.letters, &letter{record: r, reason: f.reason, detail: f.err.Error()})
	}
	t.records = append(t.records, r)
	return nil
}

// handle runs the handler on one record and gives the commands that it has queued. The error is a
// *failure, a *HaltError or the server's.
func (t *transaction) handle(r *kgo.Record) ([]redis.Cmder, error) {
	t.scratch.Discard()
	t.fresh, t.broken = nil, nil
	record, err := unfold(r)
	if err != nil {
		return nil, &failure{offset: r.Offset, reason: Undecodable, err: err, final: true}
	}
	tx := &Tx{t: t, ctx: t.hard, offset: r.Offset, attempt: t.p.attempt(r.Offset)}
	err = t.call(tx, record)
	t.refusing = nil
	var poison *poisonError
	switch {
	case t.broken != nil:
		return nil, t.broken
	case t.hard.Err() != nil:
		return nil, t.hard.Err()
	case err == nil:
		err = tx.err
	}
	if err != nil {
		f := &failure{offset: r.Offset, reason: Failed, err: err}
		if errors.As(err, &poison) {
			f.reason, f.final = Poisoned, true
		}
		return nil, f
	}
	cmds := t.scratch.Cmds()
	if err := t.p.in.slots.check(t.hard, t.p.keys.tag, cmds); err != nil {
		return nil, t.p.halt(r.Offset, err.Error(), "", "")
	}
	if t.p.in.cfg.CheckTypes {
		if err := t.checkTypes(r.Offset, cmds); err != nil {
			return nil, err
		}
	}
	return cmds, nil
}

// call runs the handler. One that panics has failed: a process that dies would meet the same record
// again.
func (t *transaction) call(tx *Tx, r Record) (err error) {
	defer func() {
		if v := recover(); v != nil {
			t.p.log.Error("the handler panicked", "offset", r.Offset, "panic", v,
				"stack", string(debug.Stack()))
			err = fmt.Errorf("the handler panicked: %v", v)
		}
	}()
	return t.p.in.cfg.Handle(t.hard, tx, r)
}
