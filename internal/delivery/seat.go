package delivery

import (
	"context"
	"encoding/json"
	"sync"
	"time"
)

// Seat is a shard's place in a lane, from the end of its take-over until it is given back or the
// lane dies.
type Seat struct {
	lane  *lane
	shard *shard
	keys  keys
	claim int64 // offset of the lane's claim

	mu       sync.Mutex
	position json.RawMessage // committed; nil: Kafka has none
	before   Places          // of the last committed transaction
	queue    []*Batch
	flying   time.Time // since when the first batch of the open transaction waits; zero: none is in it
	ended    time.Time // since when the shard is at its end; zero: it has a backlog
	closing  bool      // nothing more is taken
	err      error
	dead     chan struct{} // closed when err is set
	changed  chan struct{} // closed and replaced when the queue shrinks
	// careful seats' records are tried before they are sent.
	careful bool

	// Of the lane's goroutine alone.
	behindSince time.Time // zero: at the end
	activeAt    time.Time
	part        *part         // of the open transaction; nil: none
	crowding    chan struct{} // gets a token when the seat holds up its neighbours
	refusals    chan []Refusal
}

// maxQueue is how many batches may wait in a seat; the budget bounds their bytes.
const maxQueue = 64

func newSeat(l *lane, of *shard) *Seat {
	return &Seat{
		lane: l, shard: of, careful: of.careful,
		keys: keys{l.engine.cfg.Outbox, l.engine.cfg.Topic, of.id}, dead: make(chan struct{}),
		changed:  make(chan struct{}),
		crowding: make(chan struct{}, 1), refusals: make(chan []Refusal, 1),
	}
}

// Position is the source's committed position; nil: Kafka has none of this shard.
func (s *Seat) Position() json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.position
}

// Send queues a batch for the lane's next transactions. It waits while much is queued. After an
// error the batch is still the caller's.
func (s *Seat) Send(ctx context.Context, b *Batch) error {
	if err := s.lane.engine.budget.acquire(ctx, b); err != nil {
		return err
	}
	for {
		s.mu.Lock()
		if s.err != nil || s.closing {
			err := s.err
			s.mu.Unlock()
			s.lane.engine.budget.release(b)
			if err == nil {
				err = errReleased
			}
			return err
		}
		if len(s.queue) < maxQueue {
			b.queued = time.Now()
			s.queue = append(s.queue, b)
			s.mu.Unlock()
			s.lane.wake()
			return nil
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-s.dead:
		case <-ctx.Done():
			s.lane.engine.budget.release(b)
			return ctx.Err()
		}
	}
}

// Drain waits until everything that was sent is committed.
func (s *Seat) Drain(ctx context.Context) error {
	for {
		s.mu.Lock()
		err, changed, empty := s.err, s.changed, len(s.queue) == 0 && s.flying.IsZero()
		s.mu.Unlock()
		if err != nil || empty {
			return err
		}
		select {
		case <-changed:
		case <-s.dead:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Commit commits a position without records.
func (s *Seat) Commit(ctx context.Context, position []byte) error {
	if err := s.Send(ctx, &Batch{Position: func() ([]byte, error) {
		return position, nil
	}, AtEnd: true}); err != nil {
		return err
	}
	return s.Drain(ctx)
}

// Release gives the seat back. Waiting batches are dropped, the open transaction ends, and a later
// owner need not fence the lane. If that cannot be done before ctx ends the lane dies: a lane that
// stops a shard releases it or dies.
func (s *Seat) Release(ctx context.Context) error {
	s.drop(nil)
	_, err := s.lane.control(ctx, s.keys.tombstone(s.lane.name))
	if err != nil {
		s.lane.kill(errLaneEnded)
	}
	s.drop(errReleased)
	s.lane.leave(s)
	return err
}

// drop closes the seat for batches and drops those that wait. With an error it ends the seat.
func (s *Seat) drop(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	for _, b := range s.queue {
		s.lane.engine.budget.release(b)
	}
	s.queue = nil
	if err != nil && s.err == nil {
		s.err = err
		close(s.dead)
	}
	s.notify()
}

// reset drops what waits and opens the seat again: its source begins anew at the committed
// position.
func (s *Seat) reset(ctx context.Context) error {
	s.drop(nil)
	if err := s.Drain(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	s.closing = false
	s.mu.Unlock()
	return nil
}

// refuse gives records that Kafka refuses back to the seat's source, and drops all that wait.
func (s *Seat) refuse(refusals []Refusal) {
	s.mu.Lock()
	s.flying = time.Time{}
	s.mu.Unlock()
	s.drop(nil)
	select {
	case s.refusals <- refusals:
	default: // the source has not yet read earlier ones
	}
}

// released reports whether the seat was given back.
func (s *Seat) released() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err == errReleased //nolint:errorlint // set by this package, never wrapped
}

func (s *Seat) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// notify needs s.mu.
func (s *Seat) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// next takes the first batch that waits, if it fits in.
func (s *Seat) next(fits func(*Batch) bool) *Batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 || !fits(s.queue[0]) {
		return nil
	}
	b := s.queue[0]
	s.queue[0] = nil
	s.queue = s.queue[1:]
	if s.flying.IsZero() {
		s.flying = b.queued
	}
	s.notify()
	return b
}

// waiting is the time since which the seat's first batch has waited, zero if none does.
func (s *Seat) waiting() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.flying.IsZero() {
		return s.flying
	}
	if len(s.queue) > 0 {
		return s.queue[0].queued
	}
	return time.Time{}
}

func (s *Seat) hasWork() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue) > 0
}

// committed notes the outcome of the lane's transaction.
func (s *Seat) committed(position json.RawMessage, wrote Places, atEnd bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.position, s.before, s.flying = position, wrote, time.Time{}
	switch {
	case !atEnd:
		s.ended = time.Time{}
	case s.ended.IsZero():
		s.ended = time.Now()
	}
	s.notify()
}

// CaughtUp is called by a source that has nothing to send.
func (s *Seat) CaughtUp() {
	s.mu.Lock()
	if s.ended.IsZero() {
		s.ended = time.Now()
	}
	s.mu.Unlock()
	s.shard.tell(Running, "", nil)
}

// Running is called by a source that delivers without the lane.
func (s *Seat) Running() { s.shard.tell(Running, "", nil) }

// atEnd reports whether the shard has had no backlog for a while.
func (s *Seat) atEnd(now time.Time, d time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ended.IsZero() && now.Sub(s.ended) > d
}
