package delivery

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/internal/names"
)

// coordinator answers InitProducerID with CONCURRENT_TRANSACTIONS while an id is in a state, and
// tells that state, as Kafka does.
type coordinator struct {
	l      *lab
	states map[string]func() string // by turn; "": initialised
	places map[string][]int32
	asked  atomic.Int64
}

func (l *lab) coordinator(lane string, states map[byte]func() string) *coordinator {
	c := &coordinator{l: l, states: map[string]func() string{}, places: map[string][]int32{}}
	for turn, state := range states {
		c.states[names.LaneID(labOutbox, lane, turn)] = state
	}
	l.on(kmsg.InitProducerID, func(r kmsg.Request) kmsg.Response {
		req := r.(*kmsg.InitProducerIDRequest)
		c.asked.Add(1)
		if state := c.states[*req.TransactionalID]; state == nil || state() == "" {
			return nil
		}
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ErrorCode = kerr.ConcurrentTransactions.Code
		return resp
	})
	l.on(kmsg.DescribeTransactions, func(r kmsg.Request) kmsg.Response {
		req := r.(*kmsg.DescribeTransactionsRequest)
		id := req.TransactionalIDs[0]
		if c.states[id] == nil || c.states[id]() == "" {
			return nil
		}
		resp := req.ResponseKind().(*kmsg.DescribeTransactionsResponse)
		state := kmsg.NewDescribeTransactionsResponseTransactionState()
		state.TransactionalID, state.State, state.ProducerID = id, c.states[id](), 4711
		for topic, partitions := range c.places {
			t := kmsg.NewDescribeTransactionsResponseTransactionStateTopic()
			t.Topic, t.Partitions = topic, partitions
			state.Topics = append(state.Topics, t)
		}
		resp.TransactionStates = append(resp.TransactionStates, state)
		return resp
	})
	return c
}

// A fence waits for the markers of a commit, and not for those of an abort.
func TestFenceWaits(t *testing.T) {
	t.Parallel()
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // of every bubble
	until := func(d time.Duration, state, then string) func() string {
		return func() string {
			if time.Since(start) < d {
				return state
			}
			return then
		}
	}
	always := func(state string) func() string { return func() string { return state } }
	for name, c := range map[string]struct {
		a, b        func() string
		least, most time.Duration
		err         error
	}{
		"nothing open":                 {always(""), always(""), 0, 0, nil},
		"a is being aborted":           {always("PrepareAbort"), always(""), 0, 0, nil},
		"b is being aborted, for ever": {always(""), always("PrepareAbort"), 0, 0, nil},
		"a was aborted a moment ago":   {always("CompleteAbort"), always(""), 0, 0, nil},
		"both, b by the time-out": {
			always("PrepareCommit"), always("PrepareAbort"), 0, 0,
			nil,
		},
		"a's commit has its markers written": {
			until(3*time.Second, "PrepareCommit", ""), always(""),
			3 * time.Second, 4 * time.Second, nil,
		},
		"b's commit has its markers written": {
			always(""), until(3*time.Second, "PrepareCommit", ""),
			3 * time.Second, 4 * time.Second, nil,
		},
		"a is open, then aborted": {
			until(time.Second, "Ongoing", "PrepareAbort"), always(""),
			time.Second, 2 * time.Second, nil,
		},
		"a commit whose markers never come": {
			always("PrepareCommit"), always(""), fenceTimeout,
			fenceTimeout, kerr.ConcurrentTransactions,
		},
		"a commit that hangs, b fenced first": {
			always("PrepareCommit"),
			until(time.Second, "PrepareCommit", ""), fenceTimeout, fenceTimeout,
			kerr.ConcurrentTransactions,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inLab(t, 1, func(t *testing.T, l *lab) {
				began := time.Now()
				l.coordinator("one", map[byte]func() string{'a': c.a, 'b': c.b})
				e, end := l.engine()
				defer end()
				last := ""
				err := e.fencer.fence(t.Context(), "one", func(doing string) { last = doing })
				if !errors.Is(err, c.err) || c.err == nil && err != nil {
					t.Errorf("got %v", err)
				}
				if took := time.Since(began); took < c.least || took > c.most {
					t.Errorf("it took %s, want %s to %s", took, c.least, c.most)
				}
				if c.err != nil && (!strings.Contains(last, "PrepareCommit") ||
					!strings.Contains(err.Error(), ".lane.one.")) {
					t.Errorf("it says %q, and at the end %v", last, err)
				}
				if alive := e.fencer.anyAlive([]string{"one"}); alive != (c.err != nil) {
					t.Errorf("alive is %v", alive)
				}
			})
		})
	}
}

// A lane is fenced once, however many shards want it, and whoever waits can go.
func TestFenceOnce(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		began := time.Now()
		c := l.coordinator("one", map[byte]func() string{'a': func() string {
			if time.Since(began) < time.Second {
				return "PrepareCommit"
			}
			return ""
		}})
		e, end := l.engine()
		defer end()
		done := make(chan error, 10)
		for range 9 {
			go func() { done <- e.fencer.fence(t.Context(), "one", func(string) {}) }()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		time.Sleep(10 * time.Millisecond)
		if err := e.fencer.fence(ctx, "one", func(string) {}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who waits for another one: %v", err)
		}
		for range 9 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		asked := c.asked.Load()
		if err := e.fencer.fence(t.Context(), "one", func(string) {}); err != nil ||
			c.asked.Load() != asked {
			t.Errorf("asked again for a lane that is fenced; %v", err)
		}
		if asked > 20 {
			t.Errorf("asked %d times", asked)
		}
	})
}

// What waiting does not mend ends the fence at once; the next one tries anew.
func TestFenceDenied(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		denied := l.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.InitProducerID},
			Err:  kerr.TransactionalIDAuthorizationFailed, Count: -1,
		})
		e, end := l.engine()
		defer end()
		began := time.Now()
		if err := e.fencer.fence(t.Context(), "one", func(string) {}); !errors.Is(err,
			kerr.TransactionalIDAuthorizationFailed) || time.Since(began) > time.Second {
			t.Errorf("got %v after %s", err, time.Since(began))
		}
		denied.Remove()
		if err := e.fencer.fence(t.Context(), "one", func(string) {}); err != nil {
			t.Error(err)
		}
	})
}

// A process knows its own dead lanes, for which nobody need wait.
func TestAnyAlive(t *testing.T) {
	t.Parallel()
	e := &Engine{}
	f := &e.fencer
	if f.anyAlive(nil) {
		t.Error("none is alive")
	}
	if !f.anyAlive([]string{"a", "b"}) {
		t.Error("unknown ones are dead")
	}
	f.died("a")
	if !f.anyAlive([]string{"a", "b"}) || f.anyAlive([]string{"a"}) {
		t.Error("a is dead, b is not")
	}
	f.lane("b").done = true
	if f.anyAlive([]string{"a", "b"}) {
		t.Error("a is dead and b is fenced")
	}
}
