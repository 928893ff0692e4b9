package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/internal/kafkalog"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/internal/retry"
)

// fencer fences lanes, each once: a lane never initialises its own ids again, so a fenced lane
// stays fenced.
type fencer struct {
	engine *Engine
	mu     sync.Mutex
	lanes  map[string]*fenced
	dead   map[string]struct{} // this process's own
}

// fenced is what is known of another lane.
type fenced struct {
	token chan struct{} // held while somebody works on it
	done  bool
	// producers has what the coordinator has given to the ids, by producer id.
	producers map[int64]struct{}
}

// fenceTimeout bounds the wait for a coordinator.
const fenceTimeout = 30 * time.Second

func (f *fencer) lane(name string) *fenced {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lanes == nil {
		f.lanes = map[string]*fenced{}
	}
	x := f.lanes[name]
	if x == nil {
		x = &fenced{token: make(chan struct{}, 1), producers: map[int64]struct{}{}}
		x.token <- struct{}{}
		f.lanes[name] = x
	}
	return x
}

// acquire waits until nobody else works on a lane.
func (x *fenced) acquire(ctx context.Context) (release func(), err error) {
	select {
	case <-x.token:
		return func() { x.token <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// anyAlive reports whether one of the lanes is neither fenced nor known to be dead.
func (f *fencer) anyAlive(lanes []string) bool {
	for _, name := range lanes {
		x := f.lane(name)
		f.mu.Lock()
		_, dead := f.dead[name]
		done := x.done
		f.mu.Unlock()
		if !done && !dead {
			return true
		}
	}
	return false
}

// died notes the end of one of this process's own lanes: nobody need wait for it.
func (f *fencer) died(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead == nil {
		f.dead = map[string]struct{}{}
	}
	f.dead[name] = struct{}{}
}

// fence makes sure that a lane commits nothing more. A lane is fenced when both ids were
// initialised, or when one of them is seen to abort. A lane itself never aborts, so this call or
// the time-out took its open transaction away. A lane goes on only after a commit, so it is dead,
// whatever the state of its other id. So a fence does not wait for the markers of an abort, which a
// partition without a leader may hold up.
//
// It does wait for the markers of a commit. Fencing the other id first does not help: it is not
// known which of the two has its turn next.
//
//	X commits on b, whose markers are late; then on a, whose markers are written. Its turn is b.
//	Y fences a, sees b committing, and takes X for fenced. Reads.
//	b's markers are written. X sends on b and commits.
func (f *fencer) fence(ctx context.Context, name string, note func(string)) error {
	x := f.lane(name)
	note("another shard of this relay fences lane " + name)
	release, err := x.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	if x.done {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, fenceTimeout)
	defer cancel()
	began := time.Now()
	ids := [2]string{
		names.LaneID(f.engine.cfg.Outbox, name, 'a'),
		names.LaneID(f.engine.cfg.Outbox, name, 'b'),
	}
	var done [2]bool
	dead := false
	note("the transaction coordinator fences lane " + name)
	for wait := retry.Backoff(5*time.Millisecond, 250*time.Millisecond); ; {
		var last error
		for i, id := range ids {
			if done[i] || dead {
				continue
			}
			var err error
			if done[i], dead, err = f.step(ctx, x, id); err != nil {
				last = fmt.Errorf("kafka: fence %s: %w, since %s", id, err, began.UTC().Format("15:04:05Z"))
			}
		}
		if done[0] && done[1] || dead {
			f.mu.Lock()
			x.done = true
			f.mu.Unlock()
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(last, ctx.Err())
		}
		if last != nil {
			var denied *kerr.Error
			if errors.As(last, &denied) && !denied.Retriable &&
				!errors.Is(last, kerr.ConcurrentTransactions) {
				return last
			}
			note(last.Error())
		}
		if err := retry.Sleep(ctx, wait.NextBackOff()); err != nil {
			return last
		}
	}
}

// step tries to fence an id once. dead: its lane has had a transaction taken away.
func (f *fencer) step(ctx context.Context, x *fenced, id string) (done, dead bool, err error) {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID, req.TransactionTimeoutMillis = &id,
		int32(f.engine.cfg.TransactionTimeout.Milliseconds())
	resp, err := req.RequestWith(ctx, f.engine.cfg.Client)
	if err != nil {
		return false, false, err
	}
	err = kerr.ErrorForCode(resp.ErrorCode)
	if err == nil {
		f.learn(x, resp.ProducerID)
		return true, false, nil
	}
	if !errors.Is(err, kerr.ConcurrentTransactions) {
		return false, false, err
	}
	// The answer alone does not say that the epoch was bumped.
	state, err := f.engine.describe(ctx, id)
	if err != nil {
		return false, false, err
	}
	f.learn(x, state.producer)
	if state.state == "PrepareAbort" || state.state == "CompleteAbort" {
		return true, true, nil
	}
	return false, false, fmt.Errorf("%w: its transaction is in state %s%s",
		kerr.ConcurrentTransactions, state.state, f.engine.leaderless(ctx, state.places))
}

// transactionState is what a coordinator says of an id.
type transactionState struct {
	state    string // "Empty" also for an id that it does not know
	producer int64
	epoch    int16
	places   Places
}

func (t transactionState) ended() bool {
	switch t.state {
	case "Empty", "CompleteCommit", "CompleteAbort", "Dead":
		return true
	}
	return false
}

func (e *Engine) describe(ctx context.Context, id string) (transactionState, error) {
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{id}
	resp, err := req.RequestWith(ctx, e.cfg.Client)
	if err != nil {
		return transactionState{}, err
	}
	if len(resp.TransactionStates) != 1 {
		return transactionState{}, errors.New("the answer has no transaction")
	}
	got := resp.TransactionStates[0]
	switch err := kerr.ErrorForCode(got.ErrorCode); {
	case errors.Is(err, kerr.TransactionalIDNotFound):
		return transactionState{state: "Empty", producer: -1}, nil
	case err != nil:
		return transactionState{}, err
	}
	state := transactionState{
		state: got.State, producer: got.ProducerID, epoch: got.ProducerEpoch,
		places: Places{},
	}
	for _, t := range got.Topics {
		state.places[t.Topic] = t.Partitions
	}
	return state, nil
}

// leaderless names a partition without a leader that a coordinator may be waiting for.
func (e *Engine) leaderless(ctx context.Context, p Places) string {
	asked, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, topic := range p.topics() {
		found, err := kafkalog.Leaders(asked, e.cfg.Client, topic)
		if err != nil || found[topic] == nil {
			continue
		}
		for i, x := range found[topic].Partitions {
			if at := (place{topic, int32(i)}); errors.Is(x.Err, kerr.LeaderNotAvailable) && p.has(at) {
				return fmt.Sprintf(", and %v has no leader", at)
			}
		}
	}
	return ""
}
