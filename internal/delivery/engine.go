package delivery

import (
	"context"
	"sync"
	"time"
)

// Engine delivers the shards that its process owns. Make it with New, and Close it.
type Engine struct {
	cfg            Config
	budget         *budget
	trial          trial
	hard           context.Context //nolint:containedctx // the life of every lane, ended by Close
	abandon        context.CancelFunc
	mains          []*slot
	backlogs       []*slot
	fencer         fencer
	reader         reader
	producerStates producerStates

	mu        sync.Mutex
	owned     map[int]*ownership
	closed    bool
	suspended string // why no seat is taken; "": they are
	wg        sync.WaitGroup

	warnDenied sync.Once
	owed       connectionWatch // who owes an answer to any of the lanes
}

// ownership is a running shard.
type ownership struct {
	shard *shard
	stop  context.CancelFunc
	done  chan struct{}
}

// New starts an engine without shards.
func New(cfg Config) *Engine {
	e := &Engine{cfg: cfg, budget: newBudget(cfg.MaxInFlight), owned: map[int]*ownership{}}
	e.hard, e.abandon = context.WithCancel(context.Background())
	for range max(1, cfg.Lanes) {
		e.mains = append(e.mains, newSlot(e, main))
	}
	for range backlogLanes {
		e.backlogs = append(e.backlogs, newSlot(e, backlog))
	}
	e.fencer.engine, e.reader.engine, e.producerStates.engine = e, e, e
	e.wg.Go(e.watch)
	return e
}

// Close ends what is left: shards that were not removed, and every lane.
func (e *Engine) Close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.Remove(e.Shards()...)
	e.abandon()
	for _, s := range append(e.mains, e.backlogs...) {
		s.close()
	}
	e.trial.close()
	e.wg.Wait()
}

// Add runs a shard until Remove, Close or the end of ctx. A shard that runs already goes on.
func (e *Engine) Add(ctx context.Context, id int, make func() Source) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.owned[id]; ok || e.closed {
		return
	}
	ctx, stop := context.WithCancel(ctx)
	o := &ownership{shard: newShard(e, id, make()), stop: stop, done: makeDone()}
	e.owned[id] = o
	go func() {
		defer close(o.done)
		o.shard.run(ctx)
	}()
}

func makeDone() chan struct{} { return make(chan struct{}) }

// Remove ends shards, and returns when their open transactions are finished and their seats given
// back, or abandoned.
func (e *Engine) Remove(ids ...int) {
	e.mu.Lock()
	var ending []*ownership
	for _, id := range ids {
		if o, ok := e.owned[id]; ok {
			ending = append(ending, o)
			o.stop()
		}
	}
	e.mu.Unlock()
	for _, o := range ending {
		<-o.done
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, o := range ending {
		if e.owned[o.shard.id] == o {
			delete(e.owned, o.shard.id)
		}
	}
}

// Shards are the numbers of the shards that run.
func (e *Engine) Shards() []int {
	e.mu.Lock()
	defer e.mu.Unlock()
	ids := make([]int, 0, len(e.owned))
	for id := range e.owned {
		ids = append(ids, id)
	}
	return ids
}

// Suspend keeps shards from taking seats while this process may have lost them. Shards with a seat
// go on: if another process owns one now it fences the lane. Sources that gave their seat back end,
// since nothing else would stop them.
func (e *Engine) Suspend(why string) { e.suspend(why) }

// Resume ends what Suspend began.
func (e *Engine) Resume() { e.suspend("") }

func (e *Engine) suspend(why string) {
	e.mu.Lock()
	e.suspended = why
	e.mu.Unlock()
	e.Wake()
}

func (e *Engine) isSuspended() (why string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.suspended
}

// Wake makes shards look whether they are paused or suspended.
func (e *Engine) Wake() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, o := range e.owned {
		o.shard.wake()
	}
}

// laneEnded is called at the end of every lane.
func (e *Engine) laneEnded(l *lane, err error) {
	//nolint:errorlint // set by this package, never wrapped
	if e.hard.Err() == nil && err != errLaneEnded {
		e.cfg.Logger.Info("a lane has ended, its shards are seated anew", "lane", l.name,
			"kind", l.kind.String(), "reason", err)
	}
	e.fencer.died(l.name)
	e.reader.forget()
}

const (
	watchInterval = time.Second
	// stillAfter is how long a shard may have work and not move before it says what it waits for.
	stillAfter = 4 * time.Second
)

// watch makes every shard that does not move say why.
func (e *Engine) watch() {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		select {
		case <-e.hard.Done():
			return
		case now := <-tick.C:
			e.mu.Lock()
			owned := make([]*shard, 0, len(e.owned))
			for _, o := range e.owned {
				owned = append(owned, o.shard)
			}
			e.mu.Unlock()
			for _, s := range owned {
				s.watch(now)
			}
		}
	}
}
