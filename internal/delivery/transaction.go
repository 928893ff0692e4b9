package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// batchWait is how long a transaction collects while every shard in it is known to have more.
	batchWait = 50 * time.Millisecond
	// shareEntries and shareBytes are what a shard with a backlog may have of a transaction in which
	// shards without one wait to become visible.
	shareEntries = 1000
	shareBytes   = 256 << 10
	// crowdAfter is how long a shard with a backlog may stay among shards that have none.
	crowdAfter = 300 * time.Millisecond
	// company is how long after its last delivery a shard still counts as a neighbour.
	company = time.Second
	// leastStall is the least time after which shards without an answer are separated from neighbours
	// that have all their answers. typicalStalls is the same in usual durations of a transaction.
	leastStall    = time.Second
	typicalStalls = 20
)

// transaction collects what waits, sends it with its positions, and commits. It is small when the
// shards are idle and grows with what waits, because the next one collects while this one commits.
// Any error ends the lane.
func (l *lane) transaction() error {
	began := time.Now()
	l.lastTx = began
	ctx, cancel := context.WithTimeout(l.engine.hard, l.engine.cfg.TransactionTimeout)
	defer cancel()
	l.parts, l.entries, l.bytes = l.parts[:0], 0, 0
	if err := l.tryCareful(); err != nil {
		return err
	}
	client, err := l.producers.begin()
	if err != nil {
		return err
	}
	l.doingNow("a transaction of lane " + l.name + " collects records")
	controls, failed := l.sendControls(ctx, client)
	produce := func(r *kgo.Record, promise func(*kgo.Record, error)) {
		client.Produce(ctx, r, promise)
	}
	l.sendTried(produce)
	l.collect(ctx, produce)
	if len(l.parts) == 0 && len(controls) == 0 {
		return l.producers.endEmpty(ctx) // the batches that waited were dropped
	}
	for _, s := range l.parts {
		record, err := s.part.seal(l.name)
		if err != nil {
			return fmt.Errorf("position of shard %d: %w", s.keys.shard, err)
		}
		client.Produce(ctx, record, s.part.promise)
	}
	l.doingNow("records of a transaction wait for their brokers' answers")
	l.producers.join(ctx, l.touched(controls))
	if err := l.flush(ctx, client, began); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return err
	default:
	}
	l.doingNow("a commit waits for the transaction coordinator's answer")
	if err := l.producers.commit(ctx); err != nil {
		return err
	}
	l.doingNow("")
	l.settle(began, controls)
	return nil
}

type produceFunc = func(*kgo.Record, func(*kgo.Record, error))

// sendControls produces the claims and tombstones that wait. The channel has an error if one fails.
func (l *lane) sendControls(ctx context.Context, client *kgo.Client) ([]*control, <-chan error) {
	l.mu.Lock()
	controls := l.controls
	l.controls, l.flying = nil, controls // the lane keeps them until the outcome is known
	l.mu.Unlock()
	failed := make(chan error, 1)
	for _, c := range controls {
		for _, r := range c.records {
			client.Produce(ctx, r, func(r *kgo.Record, err error) {
				if err == nil {
					c.offset = max(c.offset, r.Offset)
					return
				}
				select {
				case failed <- &recordError{place{r.Topic, r.Partition}, err}:
				default:
				}
			})
		}
	}
	return controls, failed
}

// collect takes batches in turn from the seats until nothing waits or the transaction is full. If
// it holds only shards that are known to have more, it waits a little for that.
func (l *lane) collect(ctx context.Context, produce produceFunc) {
	timer := time.NewTimer(batchWait)
	defer timer.Stop()
	for {
		took, full, atEnd := l.round(produce)
		switch {
		case full:
			return
		case took:
			continue
		case atEnd, len(l.parts) == 0:
			return
		}
		select {
		case <-l.work:
		case <-timer.C:
			return
		case <-l.dead:
			return
		case <-ctx.Done():
			return
		}
	}
}

// round takes one batch at most from each seat. took: there was one. full: the transaction has no
// room, or none for a batch that waits. atEnd: a shard in the transaction waits to be visible.
func (l *lane) round(produce produceFunc) (took, full, atEnd bool) {
	l.mu.Lock()
	seats := l.seats
	l.mu.Unlock()
	if len(seats) == 0 {
		return false, false, true
	}
	l.turn++
	now := time.Now()
	for i := range seats {
		s := seats[(l.turn+i)%len(seats)]
		crowded := l.crowded(s, seats, now)
		b := s.next(func(b *Batch) bool {
			switch {
			case s.careful:
				return false // tryCareful has taken what is tried
			case l.entries == 0:
				return true
			case l.entries+b.Entries > l.pace.maxEntries(), l.bytes+b.Bytes > l.pace.limit:
				full = true
				return false
			case s.part != nil && crowded:
				return s.part.entries+b.Entries <= shareEntries && s.part.bytes+b.Bytes <= shareBytes
			}
			return true
		})
		if b != nil {
			l.add(s, b, produce)
			took = true
		}
		if s.part != nil && s.part.last().AtEnd {
			atEnd = true
		}
	}
	return took, full || l.pace.full(l.entries, l.bytes), atEnd
}

// crowded reports whether a seat has a backlog among neighbours that have none.
func (l *lane) crowded(s *Seat, seats []*Seat, now time.Time) bool {
	if s.behindSince.IsZero() {
		return false
	}
	for _, x := range seats {
		if x != s && x.behindSince.IsZero() && now.Sub(x.activeAt) < company {
			return true
		}
	}
	return false
}

func (l *lane) add(s *Seat, b *Batch, produce produceFunc) {
	if s.part == nil {
		s.part = &part{seat: s, places: map[place]int{}, open: map[place]int{}}
		l.parts = append(l.parts, s)
	}
	l.entries += b.Entries
	l.bytes += b.Bytes
	s.part.add(produce, b)
}

// flush waits for every promise. If some parts have no answer while others have all of theirs it
// does not wait until the transaction's time-out: they would hold up their neighbours.
func (l *lane) flush(ctx context.Context, client *kgo.Client, began time.Time) error {
	if l.neighbours() {
		patient, cancel := context.WithTimeout(ctx, max(leastStall, typicalStalls*l.typical))
		err := client.Flush(patient)
		cancel()
		if err != nil && ctx.Err() == nil && l.holdsUp(began) {
			return l.giveUp(began, nil)
		}
	}
	if err := client.Flush(ctx); err != nil {
		acknowledged := 0
		for _, s := range l.parts {
			acknowledged += s.part.bytesAcknowledged()
		}
		l.pace.failed(l.bytes, acknowledged)
		reason := fmt.Errorf("kafka: records of a transaction have no answer since %s: %w",
			began.UTC().Format("15:04:05Z"), err)
		if who := l.producers.watch.debtor(); who != "" {
			reason = fmt.Errorf("%w: %s", reason, who)
		}
		return l.giveUp(began, reason)
	}
	for _, s := range l.parts {
		if err := s.part.outcome(); err != nil {
			return err
		}
	}
	return nil
}

// neighbours reports whether the lane carries more than one shard.
func (l *lane) neighbours() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.seats) > 1
}

// holdsUp reports whether the parts without an answer are to blame: other parts of the transaction
// have all of theirs, or the transaction is of one shard and others wait for their turn. If no part
// has an answer the brokers are slow.
func (l *lane) holdsUp(began time.Time) bool {
	stalled := 0
	for _, s := range l.parts {
		if s.part.stalled(began) != nil {
			stalled++
		}
	}
	if len(l.parts) > 1 {
		return 0 < stalled && stalled < len(l.parts)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return stalled == 1 && slices.ContainsFunc(l.seats, func(s *Seat) bool {
		return s.part == nil && s.hasWork()
	})
}

// giveUp notes for each part without an answer what it lacks. It closes the clients first, so that
// no answer comes meanwhile.
func (l *lane) giveUp(began time.Time, err error) error {
	for _, s := range l.parts {
		stall := s.part.stalled(began)
		if stall == nil {
			continue
		}
		s.part.mu.Lock()
		if s.part.fault == nil {
			s.part.fault = stall
		}
		s.part.mu.Unlock()
		if err == nil {
			err = stall
		}
	}
	return err
}

// settle reports the committed transaction to seats, controls and Config.Transaction.
func (l *lane) settle(began time.Time, controls []*control) {
	took := time.Since(began)
	l.typical += (took - l.typical) / 8
	l.pace.succeeded(l.bytes, took < l.engine.cfg.TransactionTimeout/4)
	l.mu.Lock()
	l.flying = nil
	l.mu.Unlock()
	for _, c := range controls {
		close(c.done)
	}
	now := time.Now()
	for _, s := range l.parts {
		p := s.part
		s.part = nil
		s.activeAt = now
		if p.last().AtEnd {
			s.behindSince = time.Time{}
		} else if s.behindSince.IsZero() {
			s.behindSince = began
		}
		for _, b := range p.batches {
			l.engine.budget.release(b)
		}
		s.committed(p.position, p.wrote, p.last().AtEnd)
		s.shard.source.Committed(p.batches, began)
		s.shard.tell(Running, "", nil)
	}
	if told := l.engine.cfg.Transaction; told != nil && l.entries > 0 {
		told(Transaction{
			Lane: l.name, Shards: len(l.parts), Entries: l.entries, Bytes: l.bytes,
			Took: took,
		})
	}
	carried := len(l.parts) > 0
	l.parts = l.parts[:0]
	if l.kind == main && carried {
		l.tellCrowding(now)
	}
}

// tellCrowding signals seats with a backlog that their neighbours wait for them.
func (l *lane) tellCrowding(now time.Time) {
	l.mu.Lock()
	seats := l.seats
	l.mu.Unlock()
	for _, s := range seats {
		if !s.behindSince.IsZero() && now.Sub(s.behindSince) > crowdAfter && l.crowded(s, seats, now) {
			select {
			case s.crowding <- struct{}{}:
			default:
			}
		}
	}
}

// faults are the errors that a dead lane's seats get: a seat with a fault of its own gets that, its
// neighbours get errLaneEnded. A failure that all share is no seat's own.
func (l *lane) faults(err error, seats []*Seat) map[*Seat]error {
	told := make(map[*Seat]error, len(seats))
	fenced, guilty := isFenced(err), 0
	for _, s := range l.parts {
		fault := s.part.outcome()
		if fault == nil {
			continue
		}
		fenced = fenced || isFenced(fault)
		if isOwn(fault) {
			guilty++
			told[s] = fault
		}
	}
	for _, s := range seats {
		fault, own := told[s]
		var refused *refusedError
		switch {
		case fenced:
			told[s] = errFenced
		case !own && guilty > 0:
			told[s] = errLaneEnded
		case !own:
			told[s] = &sharedError{err}
		case guilty > 1 && guilty == len(l.parts) && !errors.As(fault, &refused):
			told[s] = &sharedError{fault}
		}
	}
	return told
}

// sharedError is a failure for which no single shard is to blame.
type sharedError struct{ err error }

func (e *sharedError) Error() string { return e.err.Error() }
func (e *sharedError) Unwrap() error { return e.err }
