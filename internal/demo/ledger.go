package demo

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// steps is how many events an order has, the first is step 1.
const steps = 4

// ledger compares what the shop wrote with what the consumer sees.
//
// For each order 0 <= confirmed <= begun <= steps. An event may be seen before its EXEC is known to
// be confirmed, never before it was begun.
type ledger struct {
	mu     sync.Mutex
	orders []orderRecord
	begun  map[event]time.Time // not yet delivered

	counts  counts
	latency *hdrhistogram.Histogram // µs from before EXEC to visible
	moved   time.Time               // when something arrived last
}

type orderRecord struct {
	begun     uint8
	confirmed uint8
	highest   uint8 // the latest step seen
	seen      uint8 // a bit for each step seen
}

// event is a step of an order.
type event struct {
	order int
	step  uint8
}

// counts are those of the verdict.
type counts struct {
	Written    int `json:"written"`   // events whose EXEC was confirmed
	Delivered  int `json:"delivered"` // different ones that became visible
	Duplicates int `json:"duplicates"`
	OutOfOrder int `json:"out_of_order"`
	// Unknown were never written, by what the shop knows.
	Unknown int `json:"unknown"`
}

func newLedger() *ledger {
	return &ledger{
		begun:   map[event]time.Time{},
		latency: hdrhistogram.New(1, (10 * time.Minute).Microseconds(), 3),
	}
}

// order is a new order's number.
func (l *ledger) order() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.orders = append(l.orders, orderRecord{})
	return len(l.orders) - 1
}

// begin notes that an event is about to be written.
func (l *ledger) begin(e event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.orders[e.order].begun = e.step
	l.begun[e] = time.Now()
}

// confirm notes that the EXEC of an event was answered.
func (l *ledger) confirm(e event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.orders[e.order].confirmed = e.step
	l.counts.Written++
	l.moved = time.Now()
}

// deliver notes that an event has become visible.
func (l *ledger) deliver(e event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.moved = now
	if e.order < 0 || e.order >= len(l.orders) || e.step < 1 || e.step > l.orders[e.order].begun {
		l.counts.Unknown++
		return
	}
	o := &l.orders[e.order]
	bit := uint8(1) << (e.step - 1)
	if o.seen&bit != 0 {
		l.counts.Duplicates++
		return
	}
	o.seen |= bit
	l.counts.Delivered++
	if e.step < o.highest {
		l.counts.OutOfOrder++
	} else {
		o.highest = e.step
	}
	// A value beyond the histogram's range is the only error.
	_ = l.latency.RecordValue(now.Sub(l.begun[e]).Microseconds())
	delete(l.begun, e)
}

// state is a copy of the counts with the latencies so far.
func (l *ledger) state() (c counts, p50, p99 time.Duration, moved time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := func(q float64) time.Duration {
		return time.Duration(l.latency.ValueAtQuantile(q)) * time.Microsecond
	}
	return l.counts, at(50), at(99), l.moved
}

// lost counts the confirmed events that nobody has seen.
func (l *ledger) lost() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, o := range l.orders {
		for step := uint8(1); step <= o.confirmed; step++ {
			if o.seen&(1<<(step-1)) == 0 {
				n++
			}
		}
	}
	return n
}
