package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/retry"
)

// The records of a flow have the key <shard>/<number>, its position is {"n":<number>}.
func originOf(r *kgo.Record) (shard, n int, ok bool) {
	left, right, ok := strings.Cut(string(r.Key), "/")
	shard, err := strconv.Atoi(left)
	n, err2 := strconv.Atoi(right)
	return shard, n, ok && err == nil && err2 == nil
}

type numbered struct {
	N int `json:"n"`
}

func numberOf(position json.RawMessage) int {
	var p numbered
	if json.Unmarshal(position, &p) != nil {
		return 0
	}
	return p.N
}

// flow is a shard's stream in memory.
type flow struct {
	shard int
	size  int // of a batch

	mu        sync.Mutex
	entries   []place // where the entry with number i+1 goes
	refused   map[int]error
	grown     chan struct{}
	states    []string
	state     State
	reason    string
	committed int // the last number that the lane has told of
	lanes     []string
	paused    bool
	failure   error // what Run returns
	runs      int
	alone     bool // gives its seat back, and goes on
	working   bool // while it is alone
}

func newFlow(shard int) *flow {
	return &flow{shard: shard, size: 10, refused: map[int]error{}, grown: make(chan struct{})}
}

// add appends n entries to each place.
func (f *flow) add(n int, at ...place) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range n {
		f.entries = append(f.entries, at...)
	}
	close(f.grown)
	f.grown = make(chan struct{})
}

func (f *flow) record(n int) *kgo.Record {
	at := f.entries[n-1]
	r := &kgo.Record{
		Topic: at.topic, Partition: at.partition,
		Key: fmt.Appendf(nil, "%d/%d", f.shard, n), Value: []byte("value"),
	}
	if f.refused[n] != nil {
		r.Topic, r.Partition = letters, 0
	}
	return r
}

// Run implements Source.
func (f *flow) Run(ctx context.Context, seat *Seat) error {
	f.mu.Lock()
	f.lanes, f.runs = append(f.lanes, seat.lane.name), f.runs+1
	alone := f.alone
	f.mu.Unlock()
	if alone {
		if err := seat.Release(ctx); err != nil {
			return err
		}
		seat.Running()
		f.set(func() { f.working = true })
		<-ctx.Done()
		f.set(func() { f.working = false })
		return ctx.Err()
	}
	for n, first := numberOf(seat.Position()), true; ; first = false {
		f.mu.Lock()
		if err := f.failure; err != nil {
			f.mu.Unlock()
			return err
		}
		b := &Batch{}
		from := n
		for ; n < len(f.entries) && n < from+f.size; n++ {
			r := f.record(n + 1)
			b.Records = append(b.Records, r)
			b.Entries, b.Bytes = b.Entries+1, b.Bytes+len(r.Key)+len(r.Value)
		}
		b.AtEnd, b.Cost = n == len(f.entries), int64(b.Bytes)
		grown := f.grown
		f.mu.Unlock()
		if b.Entries > 0 {
			last := n
			b.Of, b.Position = last, func() ([]byte, error) { return json.Marshal(numbered{last}) }
			if err := seat.Send(ctx, b); err != nil {
				return err
			}
			continue
		}
		if first {
			seat.CaughtUp()
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Committed implements Source.
func (f *flow) Committed(batches []*Batch, _ time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range batches {
		if n, ok := b.Of.(int); ok {
			f.committed = max(f.committed, n)
		}
	}
}

// Refused implements Source.
func (f *flow) Refused(refusals []Refusal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range refusals {
		if _, n, ok := originOf(x.Record); ok {
			f.refused[n] = x.Err
		}
	}
}

// Tell implements Source.
func (f *flow) Tell(state State, reason string, _ Halt) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if state != f.state || reason != f.reason {
		f.states = append(f.states, strings.TrimSpace(string(state)+" "+reason))
	}
	f.state, f.reason = state, reason
}

// Idle implements Source.
func (f *flow) Idle(ctx context.Context, d time.Duration) { _ = retry.Sleep(ctx, d) }

// Paused implements Source.
func (f *flow) Paused() (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return "by the test", f.paused
}

// seen is what a flow knows at one moment.
type seen struct {
	state     State
	reason    string
	committed int
	runs      int
	refused   map[int]error
}

func (f *flow) seen() seen {
	f.mu.Lock()
	defer f.mu.Unlock()
	return seen{f.state, f.reason, f.committed, f.runs, maps.Clone(f.refused)}
}

// told are the states and reasons so far.
func (f *flow) told() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.states)
}

// inLanes are the lanes of the seats that Run was called with.
func (f *flow) inLanes() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.lanes)
}

func (f *flow) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// refusals are the numbers of the entries that were refused.
func (f *flow) refusals() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	numbers := make([]int, 0, len(f.refused))
	for n := range f.refused {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return numbers
}
