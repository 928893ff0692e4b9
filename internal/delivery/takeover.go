package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-outbox/sluice/internal/kafkalog"
	"github.com/sluice-outbox/sluice/internal/retry"
)

// How a lane takes a shard over. The steps are those of docs/model, which says what happens without
// each.
//
//  1. claim: the lane's next transaction has a claim in the shard's partition.
//  2. read: the partition is read until the claim is seen in it. The lanes with a live claim before
//     it are older owners.
//  3. fence: both ids of each older owner are initialised.
//  4. barrier: the lane's next transaction withdraws their claims.
//  5. read: the partition is read again, until the barrier is seen. The position is the last one.
//
// Without older owners the first read has the position. Claims and barriers of many shards share
// transactions.

const (
	// grace is how long to wait, before fencing it, for a lane that may be about to release the shard.
	// That is safe: a fence may come arbitrarily late.
	grace = 250 * time.Millisecond
	// takeTimeout bounds a take-over. What it waits for is reported meanwhile, and is the error.
	takeTimeout = 60 * time.Second
)

// take seats a shard in a lane. note is called with what it waits for.
func (e *Engine) take(ctx context.Context, l *lane, of *shard,
	note func(string),
) (_ *Seat, err error) {
	s, record, err := e.claim(ctx, l, of, note)
	if err != nil {
		return nil, err
	}
	if record != nil {
		p, err := ParsePosition(record)
		if err != nil {
			e.withdraw(ctx, s)
			return nil, fmt.Errorf("kafka: topic %s, partition %d: %w", s.keys.topic, s.keys.shard, err)
		}
		if !p.None() {
			s.position = p.Position
		}
		if p.Lane == l.name {
			s.before = p.Wrote
		}
	}
	return s, l.enter(s)
}

// claim makes a lane the owner of a shard, and returns its last position record; nil: Kafka has
// none.
func (e *Engine) claim(ctx context.Context, l *lane, of *shard,
	note func(string),
) (_ *Seat, record []byte, err error) {
	s := newSeat(l, of)
	ctx, cancel := context.WithTimeout(ctx, takeTimeout)
	defer cancel()
	defer func() {
		if err != nil {
			e.withdraw(ctx, s)
		}
	}()
	note("a claim waits for its transaction")
	if s.claim, err = l.control(ctx, s.keys.claim(l.name, e.cfg.Instance, time.Now())); err != nil {
		return nil, nil, err
	}
	g, err := e.reader.past(ctx, s.keys, s.claim, s.claim, l.name, note)
	if err != nil {
		return nil, nil, err
	}
	older := g.before(s.claim, l.name)
	if len(older) > 0 {
		if g, older, err = e.succeed(ctx, s, g, older, note); err != nil {
			return nil, nil, err
		}
	}
	if err := e.endRecords(ctx, s.keys, g, older, l.name, note); err != nil {
		return nil, nil, err
	}
	if g.last == nil {
		return s, nil, nil
	}
	return s, g.last.Value, nil
}

// succeed fences older owners and withdraws their claims: steps 3 to 5. It returns those that it
// has fenced.
func (e *Engine) succeed(ctx context.Context, s *Seat, g *ledger, older []string,
	note func(string),
) (*ledger, []string, error) {
	var err error
	for end := time.Now().Add(grace); time.Now().Before(end) && e.fencer.anyAlive(older); {
		note("an earlier owner is given a moment to release the shard")
		if err := retry.Sleep(ctx, grace/5); err != nil {
			return nil, nil, err
		}
		if g, err = e.reader.past(ctx, s.keys, s.claim, s.claim, s.lane.name, note); err != nil {
			return nil, nil, err
		}
		if older = g.before(s.claim, s.lane.name); len(older) == 0 {
			return g, nil, nil
		}
	}
	for _, lane := range older {
		if err := e.fencer.fence(ctx, lane, note); err != nil {
			return nil, nil, err
		}
	}
	note("the brokers are asked for transactions that were left open")
	if err := e.canLook(ctx, s.keys, g, older); err != nil {
		return nil, nil, err
	}
	withdrawals := make([]*kgo.Record, len(older))
	for i, lane := range older {
		withdrawals[i] = s.keys.withdrawal(lane, s.lane.name)
	}
	note("a barrier waits for its transaction")
	barrier, err := s.lane.control(ctx, withdrawals...)
	if err != nil {
		return nil, nil, err
	}
	g, err = e.reader.past(ctx, s.keys, barrier, s.claim, s.lane.name, note)
	return g, older, err
}

// Set takes shards over in a lane that it makes, replaces the position record of each by what
// change returns for it (nil: no record before), and gives them back. Their owners are fenced, and
// begin anew from there. All shards share the lane's transactions.
func (e *Engine) Set(ctx context.Context, shards []int,
	change func(shard int, record []byte) (position []byte, err error),
) error {
	making, cancel := context.WithTimeout(ctx, makeTimeout)
	l, err := newLane(making, e, main, newPace(e.cfg.MaxBytes, e.cfg.MaxEntries))
	cancel()
	if err != nil {
		return err
	}
	defer func() {
		l.kill(errLaneEnded)
		<-l.done
	}()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(setsAtOnce)
	for _, id := range shards {
		group.Go(func() error {
			if err := e.set(ctx, l, id, change); err != nil {
				return fmt.Errorf("shard %d: %w", id, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// setsAtOnce bounds how many shards are set at the same time.
const setsAtOnce = 64

func (e *Engine) set(ctx context.Context, l *lane, id int,
	change func(int, []byte) ([]byte, error),
) error {
	last := ""
	seat, record, err := e.claim(ctx, l, newShard(e, id, noSource{}), func(doing string) {
		last = doing
	})
	if err != nil {
		return fmt.Errorf("%w (it was waiting: %s)", err, last)
	}
	if err := l.enter(seat); err != nil {
		return err
	}
	position, err := change(id, record)
	if err == nil {
		err = seat.Commit(ctx, position)
	}
	releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.cfg.DrainTimeout)
	defer cancel()
	if released := seat.Release(releasing); err == nil && released != nil {
		err = fmt.Errorf("the position is set, the claim is not given back: %w", released)
	}
	return err
}

// noSource is the source of a shard that is only set.
type noSource struct{}

func (noSource) Run(context.Context, *Seat) error     { return nil }
func (noSource) Committed([]*Batch, time.Time)        {}
func (noSource) Refused([]Refusal)                    {}
func (noSource) Tell(State, string, Halt)             {}
func (noSource) Idle(context.Context, time.Duration)  {}
func (noSource) Paused() (reason string, paused bool) { return "", false }

// withdraw takes back a claim that is not used. A lane that cannot do it is ended.
func (e *Engine) withdraw(ctx context.Context, s *Seat) {
	if s.lane.failure() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.cfg.DrainTimeout)
	defer cancel()
	if _, err := s.lane.control(ctx, s.keys.tombstone(s.lane.name)); err != nil ||
		s.lane.kind == alone {
		s.lane.kill(errLaneEnded)
	}
}

// reader reads shards' partitions.
type reader struct {
	engine *Engine
	mu     sync.Mutex
	topic  *kafkalog.Topic
	// slots bounds how many partitions are read at once.
	once  sync.Once
	slots chan struct{}
}

// readsAtOnce bounds how many partitions are read at the same time, and with them memory.
const readsAtOnce = 16

// leaders are those of the positions topic. They may be old: a reader that relies on what it reads
// waits for its own record.
func (r *reader) leaders(ctx context.Context) (*kafkalog.Topic, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.topic != nil {
		return r.topic, nil
	}
	name := r.engine.cfg.Topic
	found, err := kafkalog.Leaders(ctx, r.engine.cfg.Client, name)
	if err != nil {
		return nil, err
	}
	if found[name] == nil {
		return nil, fmt.Errorf("kafka: topic %s: %w", name, kafkalog.ErrNoTopic)
	}
	if err := found[name].Err; err != nil {
		return nil, fmt.Errorf("kafka: topic %s: %w", name, err)
	}
	r.topic = found[name]
	return r.topic, nil
}

// forget makes the next read ask for the leaders again.
func (r *reader) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.topic = nil
}

func (r *reader) acquire(ctx context.Context) (release func(), err error) {
	r.once.Do(func() { r.slots = make(chan struct{}, readsAtOnce) })
	select {
	case r.slots <- struct{}{}:
		return func() { <-r.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ledger reads a shard's partition, committed, up to its last stable offset.
func (r *reader) ledger(ctx context.Context, k keys) (*ledger, kafkalog.End, error) {
	release, err := r.acquire(ctx)
	if err != nil {
		return nil, kafkalog.End{}, err
	}
	defer release()
	topic, err := r.leaders(ctx)
	if err != nil {
		return nil, kafkalog.End{}, err
	}
	log, err := kafkalog.Open(r.engine.cfg.Client, topic, k.shard, kgo.ReadCommitted())
	if err != nil {
		return nil, kafkalog.End{}, err
	}
	g := &ledger{keys: k}
	end, err := log.Scan(ctx, 0, g.add)
	return g, end, err
}

// past reads a shard's partition until the record at an offset is seen in it. A deposed leader
// cannot show it. If a transaction of an older lane is open before it, it is ended. claim is the
// offset of the caller's own claim.
func (r *reader) past(ctx context.Context, k keys, offset, claim int64, own string,
	note func(string),
) (*ledger, error) {
	began := time.Now()
	var last error
	for wait := retry.Backoff(2*time.Millisecond, 200*time.Millisecond); ; {
		g, end, err := r.ledger(ctx, k)
		if err == nil && end.Stable > offset {
			return g, nil
		}
		at := place{k.topic, int32(k.shard)}
		switch {
		case ctx.Err() != nil:
			if last != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil, last
			}
			return nil, ctx.Err()
		case err != nil:
			last = err
			r.forget()
		default:
			last = fmt.Errorf("kafka: a transaction is open in %v at offset %d, since before %s", at,
				end.Stable, began.UTC().Format("15:04:05Z"))
			if waited := time.Since(began); waited > grace {
				if err := r.engine.unblock(ctx, k, end.Stable, claim, own, waited, note); err != nil {
					last = fmt.Errorf("%w: %w", last, err)
					if _, halted := asHalt(err); halted {
						return nil, last
					}
				}
			}
		}
		note(last.Error())
		if err := retry.Sleep(ctx, wait.NextBackOff()); err != nil {
			return nil, last
		}
	}
}
