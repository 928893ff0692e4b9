package delivery

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/names"
)

// lane carries the batches and positions of its seats in one transaction at a time. It is named
// uniquely for ever. Any error kills it: the clients are dropped, and its seats are taken anew in
// another lane.
//
// One goroutine runs the transactions; it never waits for a read while one is open.
type lane struct {
	engine    *Engine
	name      string
	kind      kind
	producers *producers
	pace      *pace
	began     time.Time

	mu       sync.Mutex
	seats    []*Seat
	controls []*control
	flying   []*control // in the open transaction
	err      error
	doing    string    // what the goroutine waits for
	since    time.Time // and since when

	work chan struct{} // holds one token while there may be something to do
	dead chan struct{} // closed when err is set
	done chan struct{} // closed when the goroutine has ended

	// Of the goroutine alone.
	turn    int           // at which seat the next transaction begins
	lastTx  time.Time     // when the last one began
	typical time.Duration // how long they take, smoothed
	parts   []*Seat       // of the open transaction
	bytes   int
	entries int
	tried   []*Batch // of careful, which have passed
	careful *Seat
}

// control are the records of the positions topic that are not positions: claims and tombstones of
// one shard.
type control struct {
	records []*kgo.Record
	at      []place // of the records, which are the client's once they are produced
	offset  int64   // of the last one
	err     error
	done    chan struct{}
}

// newLane makes a lane, with new ids.
func newLane(ctx context.Context, e *Engine, k kind, p *pace) (*lane, error) {
	name := newLaneName()
	made, err := newProducers(ctx, &e.cfg, name, &e.owed)
	if err != nil {
		return nil, err
	}
	l := &lane{
		engine: e, name: name, kind: k, producers: made, pace: p, began: time.Now(),
		work: make(chan struct{}, 1), dead: make(chan struct{}), done: make(chan struct{}),
	}
	go l.run()
	return l, nil
}

func (l *lane) run() {
	defer close(l.done)
	idle := time.NewTicker(idleCheck)
	defer idle.Stop()
	for {
		select {
		case <-l.dead:
			l.finish(l.failure())
			return
		case <-l.work:
		case <-idle.C:
			if time.Since(l.lastTx) > idleCheck && l.isFenced() {
				l.kill(errFenced)
			}
		}
		for l.ready() {
			l.linger()
			if err := l.transaction(); err != nil {
				l.kill(err)
				l.finish(err)
				return
			}
		}
	}
}

// idleCheck is how often a lane without transactions looks whether it was fenced. Nothing else
// shows that: an operator has moved a position, or another process believes that it owns a shard.
const idleCheck = 5 * time.Second

// isFenced asks the coordinator. If it cannot be known the answer is no.
func (l *lane) isFenced() bool {
	l.mu.Lock()
	seats := len(l.seats)
	l.mu.Unlock()
	if seats == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(l.engine.hard, idleCheck)
	defer cancel()
	for i, turn := range []byte{'a', 'b'} {
		state, err := l.engine.describe(ctx, names.LaneID(l.engine.cfg.Outbox, l.name, turn))
		if err != nil || !state.ended() || state.producer < 0 {
			continue // busy with the markers of the last one, or forgotten after days
		}
		id, epoch, err := l.producers.client[i].ProducerID(ctx)
		if err == nil && (state.producer != id || state.epoch > epoch) {
			return true
		}
	}
	return false
}

// wake tells the goroutine that there may be something to do.
func (l *lane) wake() {
	select {
	case l.work <- struct{}{}:
	default:
	}
}

// ready reports whether a transaction would have something to carry.
func (l *lane) ready() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err == nil && (len(l.controls) > 0 || slices.ContainsFunc(l.seats, (*Seat).hasWork))
}

// linger waits for the least time between the beginnings of two transactions.
func (l *lane) linger() {
	if left := time.Until(l.lastTx.Add(l.engine.cfg.Linger)); left > 0 {
		t := time.NewTimer(left)
		defer t.Stop()
		select {
		case <-t.C:
		case <-l.dead:
		}
	}
}

// control lets the next transaction carry records, and returns the offset of the last one when it
// is committed. An error says that ctx has ended, or that the lane has, with an unknown outcome.
func (l *lane) control(ctx context.Context, records ...*kgo.Record) (int64, error) {
	c := &control{records: records, done: make(chan struct{})}
	for _, r := range records {
		c.at = append(c.at, place{r.Topic, r.Partition})
	}
	l.mu.Lock()
	if l.err != nil {
		defer l.mu.Unlock()
		return 0, l.err
	}
	l.controls = append(l.controls, c)
	l.mu.Unlock()
	l.wake()
	select {
	case <-c.done:
		return c.offset, c.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// enter adds a seat.
func (l *lane) enter(s *Seat) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	l.seats = append(slices.Clip(l.seats), s) // the goroutine may be looking at the old ones
	return nil
}

// leave takes a seat out. A lane for one shard ends with it.
func (l *lane) leave(s *Seat) {
	l.mu.Lock()
	l.seats = slices.DeleteFunc(slices.Clone(l.seats), func(x *Seat) bool { return x == s })
	l.mu.Unlock()
	if l.kind == alone {
		l.kill(errLaneEnded)
	}
}

// kill ends the lane. It closes the clients, which ends whatever the goroutine waits for. The
// goroutine then tells the seats.
func (l *lane) kill(err error) {
	l.mu.Lock()
	if l.err == nil {
		l.err = err
		close(l.dead)
	}
	l.mu.Unlock()
	l.producers.close()
}

// finish ends seats and controls: the lane is dead. Each seat gets its own fault as its error, or
// the lane's.
func (l *lane) finish(err error) {
	l.producers.close()
	if isFenced(err) {
		err = fmt.Errorf("%w: %w", errFenced, err)
	}
	l.mu.Lock()
	seats, controls := l.seats, append(l.controls, l.flying...)
	l.seats, l.controls, l.flying = nil, nil, nil
	l.mu.Unlock()
	faults := l.faults(err, seats)
	for _, s := range l.parts {
		if s.part != nil {
			for _, b := range s.part.batches {
				l.engine.budget.release(b)
			}
			s.part = nil
		}
	}
	for _, c := range controls {
		c.err = err
		close(c.done)
	}
	for s, fault := range faults {
		s.drop(fault)
	}
	l.engine.laneEnded(l, err)
}

func (l *lane) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// doingNow notes what the goroutine waits for.
func (l *lane) doingNow(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.doing, l.since = what, time.Now()
}

// activity says what the goroutine waits for, and since when.
func (l *lane) activity() string {
	l.mu.Lock()
	doing, since := l.doing, l.since
	l.mu.Unlock()
	if doing == "" {
		return ""
	}
	text := fmt.Sprintf("kafka: %s since %s", doing, since.UTC().Format("15:04:05Z"))
	if who := l.producers.watch.debtor(); who != "" {
		text += ": " + who
	}
	return text
}
