package delivery

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/sluice-outbox/sluice/internal/kafkalog"
	"github.com/sluice-outbox/sluice/internal/retry"
)

const (
	// haltRecheck is how often a halted shard looks whether its cause has gone.
	haltRecheck = 3 * time.Second
	// fencedPause is the least wait of a contested shard. The newer owner is alive: to fence it at
	// once would make both start over in turn.
	fencedPause = 2 * time.Second
	// calmAfter is how long a shard in trouble has to deliver before it goes back among the others;
	// the time doubles with each relapse, up to mostCalm.
	calmAfter = 5 * time.Second
	mostCalm  = 5 * time.Minute
	// drained is how long a shard has to be without a backlog before it leaves the lane for backlogs.
	drained = time.Second
	// leaderPoll is how often a partition without a leader is asked about.
	leaderPoll = time.Second
)

// shard takes one shard from seat to seat for as long as its process owns it.
type shard struct {
	engine *Engine
	id     int
	source Source
	woken  chan struct{}

	mu    sync.Mutex
	seat  *Seat
	state State
	doing string // what a take-over waits for
	since time.Time

	// Of the goroutine alone.
	kind     kind
	careful  bool
	calm     time.Duration // how long to be well before the next move
	trouble  time.Time     // the last one
	lost     *place        // without a leader, as far as known
	claim    int64         // of the last seat
	lastLane string
	pace     *pace // of lanes of its own
	wait     *backoff.ExponentialBackOff
}

func newShard(e *Engine, id int, source Source) *shard {
	return &shard{
		engine: e, id: id, source: source, woken: make(chan struct{}, 1), calm: calmAfter,
		pace: newPace(e.cfg.MaxBytes, e.cfg.MaxEntries),
		wait: retry.Backoff(100*time.Millisecond, 10*time.Second),
	}
}

// moveError ends a session to go on in a lane of another kind.
type moveError struct{ to kind }

func (e *moveError) Error() string { return "moves to a lane of kind " + e.to.String() }

var (
	errPaused    = errors.New("paused")
	errSuspended = errors.New("suspended")
)

// run returns when ctx ends and the seat is given back.
func (h *shard) run(ctx context.Context) {
	defer h.tell(Stopped, "", nil)
	for ctx.Err() == nil {
		if reason, paused := h.source.Paused(); paused {
			h.tell(Paused, reason, nil)
			h.idle(ctx, nil, time.Second)
			continue
		}
		if why := h.engine.isSuspended(); why != "" {
			h.tell(Waiting, why, nil)
			h.idle(ctx, nil, time.Second)
			continue
		}
		if st := h.current(); st == "" || st == Paused {
			h.tell(Starting, "", nil)
		}
		began := time.Now()
		err := h.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			h.wait.Reset()
		}
		h.next(ctx, err)
	}
}

// session is a seat from its beginning to its end.
func (h *shard) session(ctx context.Context) error {
	defer func() {
		h.mu.Lock()
		h.seat, h.doing = nil, ""
		h.mu.Unlock()
	}()
	seat, err := h.sit(ctx)
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.seat, h.doing = seat, ""
	h.mu.Unlock()
	return h.serve(ctx, seat)
}

// sit takes a seat in a lane of the shard's kind.
func (h *shard) sit(ctx context.Context) (*Seat, error) {
	e := h.engine
	note := func(doing string) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.doing == "" {
			h.since = time.Now()
		}
		h.doing = doing
	}
	var (
		l   *lane
		err error
	)
	switch h.kind {
	case main:
		l, err = e.mains[h.id%len(e.mains)].get(ctx, note)
	case backlog:
		l, err = e.backlogs[h.id%len(e.backlogs)].get(ctx, note)
	default:
		note("the transaction coordinator initialises the ids of a lane")
		making, cancel := context.WithTimeout(ctx, makeTimeout)
		l, err = newLane(making, e, alone, h.pace)
		cancel()
	}
	if err != nil {
		return nil, err
	}
	seat, err := e.take(ctx, l, h, note)
	if err != nil {
		if l.kind == alone {
			l.kill(errLaneEnded)
		}
		return nil, err
	}
	h.claim, h.lastLane = seat.claim, l.name
	return seat, nil
}

// serve runs the source on a seat until the seat dies, or is given back.
func (h *shard) serve(ctx context.Context, seat *Seat) error {
	for {
		if _, paused := h.source.Paused(); paused {
			return h.leave(ctx, seat, errPaused)
		}
		running, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- h.source.Run(running, seat) }()
		over, err := h.watchSource(ctx, seat, done, stop)
		if over {
			return err
		}
		if err := h.between(ctx, seat, err); err != nil {
			return err
		}
	}
}

// watchSource waits for the end of the source or for a reason to end it. over: the seat has ended
// or was given back.
func (h *shard) watchSource(ctx context.Context, seat *Seat, done <-chan error,
	stop context.CancelFunc,
) (over bool, err error) {
	defer stop()
	calm := time.NewTicker(drained / 2)
	if seat.lane.kind == main {
		calm.Stop()
	}
	defer calm.Stop()
	began, dead := time.Now(), seat.dead
	end := func(why error) (bool, error) { // the source first, then the seat
		stop()
		drop(<-done)
		return true, h.leave(ctx, seat, why)
	}
	for {
		select {
		case err := <-done:
			return false, err
		case <-dead:
			if seat.released() { // the source itself gave it back, and goes on without
				dead = nil
				continue
			}
			stop()
			drop(<-done)
			return true, seat.failure()
		case <-ctx.Done():
			return end(ctx.Err())
		case <-h.woken:
			if _, paused := h.source.Paused(); paused {
				return end(errPaused)
			}
			if seat.released() && h.engine.isSuspended() != "" { // without a seat nobody fences it
				return end(errSuspended)
			}
		case <-seat.crowding:
			return end(&moveError{backlog})
		case refusals := <-seat.refusals:
			stop()
			drop(<-done)
			h.source.Refused(refusals)
			h.trouble = time.Now()
			if err := seat.reset(ctx); err != nil {
				return true, err
			}
			return false, nil
		case now := <-calm.C:
			if h.isCalm(seat, began, now) {
				return end(&moveError{main})
			}
		}
	}
}

// drop is for the error of a source that was told to end.
func drop(error) {}

// leave gives the seat back, and returns why.
func (h *shard) leave(ctx context.Context, seat *Seat, why error) error {
	if seat.failure() == nil {
		releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.engine.cfg.DrainTimeout)
		defer cancel()
		_ = seat.Release(releasing) // not released: its lane has ended
	}
	return why
}

// isCalm reports whether the shard may go back among the others.
func (h *shard) isCalm(seat *Seat, began, now time.Time) bool {
	if seat.lane.kind == backlog {
		return seat.atEnd(now, drained)
	}
	since := began
	if h.trouble.After(since) {
		since = h.trouble
	}
	return now.Sub(since) > h.calm && h.current() == Running
}

// between decides what happens after a source has ended by itself. An error ends the seat.
func (h *shard) between(ctx context.Context, seat *Seat, err error) error {
	if seat.released() {
		return err
	}
	if failed := seat.failure(); failed != nil {
		return failed
	}
	draining, cancel := context.WithTimeout(ctx, 2*h.engine.cfg.TransactionTimeout)
	failed := seat.Drain(draining)
	cancel()
	if failed != nil && seat.failure() != nil {
		return seat.failure()
	}
	select {
	case refusals := <-seat.refusals:
		h.source.Refused(refusals)
		h.trouble = time.Now()
		return seat.reset(ctx)
	default:
	}
	if err == nil || ctx.Err() != nil {
		return nil
	}
	if failed := seat.reset(ctx); failed != nil {
		return failed
	}
	if halt, ok := asHalt(err); ok {
		h.tell(Halted, halt.Halt(), halt)
		h.wait.Reset()
		h.idle(ctx, seat, haltRecheck)
		return nil
	}
	h.tell(Waiting, err.Error(), nil)
	h.idle(ctx, seat, h.wait.NextBackOff())
	return nil
}

// next decides where and when the shard is seated again after err has ended its seat.
func (h *shard) next(ctx context.Context, err error) {
	var (
		move    *moveError
		refused *refusedError
		stall   *stallError
		record  *recordError
		shared  *sharedError
	)
	halt, halted := asHalt(err)
	switch {
	//nolint:errorlint // set by this package, never wrapped
	case err == nil, err == errPaused, err == errSuspended, err == errLaneEnded:
	case errors.As(err, &move):
		if h.kind = move.to; move.to == main {
			h.careful, h.lost = false, nil
		}
	case halted:
		h.tell(Halted, halt.Halt(), halt)
		h.wait.Reset()
		h.idle(ctx, nil, haltRecheck)
	case errors.As(err, &refused):
		h.inTrouble()
		h.careful = true
		h.tell(Waiting, err.Error()+"; its records are tried one by one", nil)
	case errors.As(err, &shared):
		if !errors.Is(err, errConnection) {
			h.tell(Waiting, err.Error(), nil)
		}
		h.idle(ctx, nil, h.wait.NextBackOff())
	case errors.As(err, &stall):
		h.inTrouble()
		h.lost = &stall.at
		h.tell(Waiting, err.Error(), nil)
		h.awaitLeader(ctx, *h.lost)
	case errors.As(err, &record) && isOwn(err):
		h.inTrouble()
		h.tell(Waiting, err.Error(), nil)
		h.idle(ctx, nil, h.wait.NextBackOff())
		h.awaitLeader(ctx, record.at)
	case isFenced(err):
		h.fenced(ctx)
	default:
		h.tell(Waiting, err.Error(), nil)
		h.idle(ctx, nil, h.wait.NextBackOff())
	}
}

// inTrouble sends the shard into a lane of its own.
func (h *shard) inTrouble() {
	now := time.Now()
	if h.kind == alone || now.Sub(h.trouble) < 2*h.calm {
		h.calm = min(mostCalm, 2*h.calm)
	} else {
		h.calm = calmAfter
	}
	h.kind, h.trouble = alone, now
}

// fenced finds out whether the shard is contested. If another lane has claimed it since, it is left
// alone for a while, so that the group can take it away. If it is still this process's after that
// it is claimed in a lane of its own. If no lane has claimed it, this one was fenced because of
// another shard.
func (h *shard) fenced(ctx context.Context) {
	contested := true
	asked, cancel := context.WithTimeout(ctx, 5*time.Second)
	h.engine.reader.forget()
	if g, _, err := h.engine.reader.ledger(asked,
		keys{h.engine.cfg.Outbox, h.engine.cfg.Topic, h.id}); err == nil {
		contested = g.after(h.claim, h.lastLane)
	}
	cancel()
	if !contested {
		return
	}
	h.inTrouble()
	h.tell(Waiting, errFenced.Error()+"; starting over if this relay still owns it", nil)
	h.idle(ctx, nil, max(fencedPause, h.wait.NextBackOff()))
}

// awaitLeader waits while a partition has no leader, for half a minute at most: then it is tried
// again.
func (h *shard) awaitLeader(ctx context.Context, at place) {
	for end := time.Now().Add(30 * time.Second); ctx.Err() == nil && time.Now().Before(end); {
		asked, cancel := context.WithTimeout(ctx, 5*time.Second)
		found, err := kafkalog.Leaders(asked, h.engine.cfg.Client, at.topic)
		cancel()
		if err == nil && found[at.topic] != nil && int(at.partition) < len(found[at.topic].Partitions) {
			if err = found[at.topic].Partitions[at.partition].Err; err == nil {
				return
			}
		}
		switch {
		case errors.Is(err, kerr.LeaderNotAvailable):
			h.tell(Waiting, "kafka: "+at.String()+" has no leader, since before "+h.trouble.UTC().Format(
				"15:04:05Z"), nil)
		case err != nil:
			h.tell(Waiting, err.Error(), nil)
		}
		h.idle(ctx, nil, leaderPoll)
	}
}

// idle waits while the shard cannot deliver, until it is woken, or its seat dies.
func (h *shard) idle(ctx context.Context, seat *Seat, d time.Duration) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		h.source.Idle(ctx, d)
	}()
	var dead chan struct{}
	if seat != nil {
		dead = seat.dead
	}
	select {
	case <-waited:
		return
	case <-dead:
	case <-h.woken:
	}
	stop()
	<-waited
}

// wake makes the shard look whether it is paused or suspended.
func (h *shard) wake() {
	select {
	case h.woken <- struct{}{}:
	default:
	}
}

func (h *shard) current() State {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state
}

func (h *shard) tell(state State, reason string, halt Halt) {
	h.mu.Lock()
	h.state = state
	h.mu.Unlock()
	h.source.Tell(state, reason, halt)
}

// watch makes the shard say what it waits for if it has work and does not move.
func (h *shard) watch(now time.Time) {
	h.mu.Lock()
	seat, state, doing, since := h.seat, h.state, h.doing, h.since
	h.mu.Unlock()
	switch {
	case seat != nil:
		if waits := seat.waiting(); !waits.IsZero() && now.Sub(waits) > stillAfter {
			if doing := seat.lane.activity(); doing != "" {
				h.tell(Waiting, doing, nil)
			}
		}
	case doing != "" && now.Sub(since) > stillAfter &&
		(state == Starting || state == Waiting || state == Running):
		if who := h.engine.owed.debtor(); who != "" {
			doing += ": " + who
		}
		h.tell(Waiting, doing, nil)
	}
}
