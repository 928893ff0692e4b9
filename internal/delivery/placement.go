package delivery

import (
	"context"
	"time"

	"github.com/sluice-outbox/sluice/internal/retry"
)

// kind says what a lane is for.
type kind int

const (
	main    kind = iota // shards that are well, together
	backlog             // shards that have more to send than their neighbours can wait for
	alone               // one shard that is in trouble, or contested
)

func (k kind) String() string { return [...]string{"main", "backlog", "alone"}[k] }

// backlogLanes is how many lanes the shards with a backlog have.
const backlogLanes = 2

// slot has one lane after the other. It makes them at a bounded rate: ids live for days in the
// coordinator.
type slot struct {
	engine *Engine
	kind   kind
	token  chan struct{} // held while the fields are used
	lane   *lane
	pace   *pace
	short  int // lanes that died young, in a row
	last   time.Time
}

const (
	youngLane = 10 * time.Second
	leastWait = 50 * time.Millisecond
	mostWait  = 5 * time.Second
	// makeTimeout bounds how long Kafka may take to initialise two ids.
	makeTimeout = 30 * time.Second
)

func newSlot(e *Engine, k kind) *slot {
	s := &slot{
		engine: e, kind: k, token: make(chan struct{}, 1),
		pace: newPace(e.cfg.MaxBytes, e.cfg.MaxEntries),
	}
	s.token <- struct{}{}
	return s
}

// get returns the slot's lane, and makes one if it has none that lives.
func (s *slot) get(ctx context.Context, note func(string)) (*lane, error) {
	note("another shard of this relay makes a lane")
	select {
	case <-s.token:
		defer func() { s.token <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.lane != nil && s.lane.failure() == nil {
		return s.lane, nil
	}
	if s.lane != nil {
		<-s.lane.done
		if s.lane.began.Add(youngLane).After(time.Now()) {
			s.short++
		} else {
			s.short = 0
		}
		s.lane = nil
	}
	if s.short > 1 {
		wait := min(mostWait, leastWait<<min(s.short, 10))
		note("a lane has ended early, the next one is made in a moment")
		if err := retry.Sleep(ctx, time.Until(s.last.Add(wait))); err != nil {
			return nil, err
		}
	}
	s.last = time.Now()
	note("the transaction coordinator initialises the ids of a lane")
	making, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	l, err := newLane(making, s.engine, s.kind, s.pace)
	if err != nil {
		s.short++
		return nil, err
	}
	s.lane = l
	return l, nil
}

// close ends the slot's lane.
func (s *slot) close() {
	<-s.token
	defer func() { s.token <- struct{}{} }()
	if s.lane != nil {
		s.lane.kill(errLaneEnded)
		<-s.lane.done
	}
}
