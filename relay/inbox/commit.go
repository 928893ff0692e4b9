package inbox

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/slot"
)

// commit makes the segment take effect: its dead letters are confirmed by Kafka, then commands and
// position are one EXEC. The error is a *failure with alone set, errConflict, a *HaltError or the
// server's; after each of them nothing was written, or the position tells.
func (t *transaction) commit() error {
	if t.dead != nil || len(t.records) == 0 && t.extra == nil {
		return t.dead
	}
	if err := t.p.in.letters.send(t.hard, t.p.pos.Topic, t.letters); err != nil {
		return err
	}
	next := t.next()
	raw := next.encode()
	pipe := t.conn.TxPipeline()
	_ = pipe.BatchProcess(t.hard, t.cmds...)
	own := len(pipe.Cmds())
	t.queueParked(pipe)
	if t.extra != nil {
		t.extra(pipe)
	}
	set := pipe.Set(t.hard, t.p.keys.position, raw, 0)
	cmds, err := pipe.Exec(t.hard)
	if set.Err() != nil || set.Val() != "OK" { // the last command: if it ran, EXEC did
		t.dead = t.refused(err, set)
		return t.dead
	}
	t.p.committed(next, raw, t.parked)
	t.done += len(t.records)
	for _, a := range t.appended {
		_ = a.Err() // the writer learns from it; its commands are looked at below
	}
	for _, c := range cmds[own:] {
		if err := c.Err(); err != nil {
			return t.p.halt(-1,
				"a key of the inbox holds another type, find what wrote it and reset the partition "+
					"(Admin.PlanReset): "+commandName(c)+": "+err.Error(), "", "")
		}
	}
	if err := t.settle(); err != nil {
		return err
	}
	t.tell()
	t.reset()
	return nil
}

// next is the position behind the segment.
func (t *transaction) next() Position {
	next := t.p.pos
	if n := len(t.records); n > 0 && !t.replaying {
		next.Next, next.Epoch = t.records[n-1].Offset+1, t.records[n-1].LeaderEpoch
		next.Count += uint64(n)
		next.Letters += uint64(len(t.letters))
	}
	next.Instance, next.At = t.p.in.cfg.Instance, time.Now().UTC()
	return next
}

// refused says why EXEC did not run. A command that Redis refused when it was queued is its
// record's fault.
func (t *transaction) refused(err error, set *redis.StatusCmd) error {
	if errors.Is(err, redis.TxFailedErr) {
		return errConflict
	}
	for i, c := range t.cmds {
		failed := c.Err()
		if failed == nil || !isReply(failed) || redis.IsExecAbortError(failed) ||
			set.Err() != nil && failed.Error() == set.Err().Error() {
			continue
		}
		if isServerState(failed) {
			return fmt.Errorf("redis: %s: %w", commandName(c), failed)
		}
		return &failure{
			offset: t.records[t.owners[i]].Offset, reason: Refused, alone: true,
			err: fmt.Errorf("redis refuses %s: %w", commandName(c), failed),
		}
	}
	if err == nil {
		err = set.Err()
	}
	if err == nil {
		err = errors.New("the client gives no reply")
	}
	return fmt.Errorf("redis: EXEC with %s: %w", t.p.keys.position, err)
}

// settle looks at every reply. A record some of whose commands failed is told of and becomes a dead
// letter; the position has passed it already.
func (t *transaction) settle() error {
	var partial []*letter
	for i, c := range t.cmds {
		err := c.Err()
		if err == nil || errors.Is(err, redis.Nil) {
			continue
		}
		r := t.records[t.owners[i]]
		what := commandName(c) + ": " + err.Error()
		if n := len(partial); n > 0 && partial[n-1].record == r {
			partial[n-1].detail += "; " + what
			continue
		}
		partial = append(partial, &letter{record: r, reason: Partial, detail: what})
	}
	if len(partial) == 0 {
		return nil
	}
	t.partial = true
	for _, l := range partial {
		t.p.log.Error("a record took effect in part: Redis does not roll back", "offset", l.record.Offset,
			"failed", l.detail)
	}
	t.p.owe(t.hard, partial)
	if err := t.p.in.letters.send(t.hard, t.p.pos.Topic, partial); err != nil {
		return err // what is owed is sent when the partition begins again
	}
	t.letters = append(t.letters, partial...)
	return t.p.paid(t.hard, partial)
}

// owe notes in Redis that letters are to be sent of records that the position has passed. Without
// it a crash before Kafka's confirmation would lose them.
func (p *partition) owe(ctx context.Context, letters []*letter) {
	values := make([]any, 0, 2*len(letters))
	for _, l := range letters {
		values = append(values, strconv.FormatInt(l.record.Offset, 10), oneLine(l.detail))
	}
	if err := p.in.cfg.Redis.HSet(ctx, p.keys.owed, values...).Err(); err != nil {
		p.log.Error("cannot note that a dead letter is due; it is sent now", "error", err)
	}
}

func (p *partition) paid(ctx context.Context, letters []*letter) error {
	fields := make([]string, len(letters))
	for i, l := range letters {
		fields[i] = strconv.FormatInt(l.record.Offset, 10)
	}
	if err := p.in.cfg.Redis.HDel(ctx, p.keys.owed, fields...).Err(); err != nil {
		return fmt.Errorf("redis: HDEL %s: %w", p.keys.owed, err)
	}
	return nil
}

// tell tells the observer of the segment.
func (t *transaction) tell() {
	o, p := t.p.in.cfg.Observer, t.p
	if t.replaying {
		for _, r := range t.records {
			if o.Replayed != nil {
				o.Replayed(p.topic, p.number, r.Offset)
			}
		}
	} else if o.Applied != nil {
		now := time.Now()
		c := Commit{
			Topic: p.topic, Partition: p.number, Records: len(t.records) - t.condemned(),
			Letters: len(t.letters), Commands: len(t.cmds),
			Ages: make([]time.Duration, len(t.records)), Took: now.Sub(t.began),
		}
		for i, r := range t.records {
			c.Ages[i] = now.Sub(r.Timestamp)
			c.Bytes += len(r.Key) + len(r.Value)
		}
		o.Applied(c)
	}
	if o.DeadLettered != nil {
		for _, l := range t.letters {
			o.DeadLettered(p.topic, p.number, l.record.Offset, l.reason)
		}
	}
}

// condemned counts the records without effects: partial ones have some.
func (t *transaction) condemned() (n int) {
	for _, l := range t.letters {
		if l.reason != Partial {
			n++
		}
	}
	return n
}

// reset begins the next segment.
func (t *transaction) reset() {
	t.records, t.cmds, t.owners, t.letters, t.parked, t.extra, t.appended, t.types = nil, nil, nil,
		nil, nil, nil, nil, nil
	t.watching, t.began = false, time.Now()
}

// move sets the position without effects, under WATCH on itself.
func (p *partition) move(ctx context.Context, next Position) error {
	next.Instance, next.At = p.in.cfg.Instance, time.Now().UTC()
	raw := next.encode()
	return p.watch(ctx, func(conn *redis.Tx) error {
		t := &transaction{p: p, soft: ctx, hard: ctx, conn: conn}
		if err := t.recognise(); err != nil {
			return err
		}
		_, err := conn.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
			return pipe.Set(ctx, p.keys.position, raw, 0).Err()
		})
		switch {
		case errors.Is(err, redis.TxFailedErr):
			return errOvertaken
		case err != nil:
			return fmt.Errorf("redis: EXEC with %s: %w", p.keys.position, err)
		}
		p.committed(next, raw, nil)
		return nil
	})
}

// commandName is the command and its key, without values: those may be secret.
func commandName(c redis.Cmder) string {
	args := c.Args()
	if len(args) < 2 {
		return c.Name()
	}
	return c.Name() + " " + strings.ToValidUTF8(slot.Text(args[1]), "?")
}
