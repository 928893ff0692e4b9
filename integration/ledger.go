package integration

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Ledger holds what was written on one side and what came out on the other, and compares them. It
// is simple on purpose: everything is kept in memory (about 200 bytes an event), and compared at
// the end with maps. It knows nothing of outbox, relay or positions.
//
// Its methods may be called from several goroutines.
type Ledger struct {
	mu        sync.Mutex
	written   map[string]writtenEvent
	delivered []Delivery
}

type writtenEvent struct {
	key    string
	seq    int
	unsure bool
}

// Delivery is one committed record.
type Delivery struct {
	ID, Key   string
	Topic     string
	Partition int32
	Offset    int64
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger { return &Ledger{written: map[string]writtenEvent{}} }

// Wrote notes an event whose write was acknowledged: it must come out. seq orders the events of
// one key: they are written, and must come out, with rising seq, gaps allowed.
func (l *Ledger) Wrote(id, key string, seq int) { l.note(id, writtenEvent{key, seq, false}) }

// MayHaveWritten notes an event whose write has an unknown outcome, such as one whose reply was
// lost: it may come out, at most once and in its place, but need not.
func (l *Ledger) MayHaveWritten(id, key string, seq int) {
	l.note(id, writtenEvent{key, seq, true})
}

func (l *Ledger) note(id string, e writtenEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written[id] = e
}

// Delivered notes a committed record.
func (l *Ledger) Delivered(d Delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delivered = append(l.delivered, d)
}

// DeliveredRecord notes a committed record whose header "id" is the id of its event. It never
// fails: a record without the header is noted as one that nobody wrote. It fits [ReadCommitted].
func (l *Ledger) DeliveredRecord(r *kgo.Record) error {
	d := Delivery{Key: string(r.Key), Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}
	for _, h := range r.Headers {
		if h.Key == "id" {
			d.ID = string(h.Value)
		}
	}
	l.Delivered(d)
	return nil
}

// Report is the outcome of a comparison. Lost to Altered are all 0 when nothing went wrong.
type Report struct {
	Written   int // events noted as written for sure
	Unsure    int // events noted with unknown outcome
	Delivered int // records

	Lost       int // written for sure, but not delivered
	Duplicated int // records beyond the first of an event
	// first records that stand after one with a higher seq of their key, or in another partition
	OutOfOrder int
	Orphaned   int // records of events that nobody wrote
	Altered    int // records under another key than that of their event

	// Findings describe the first ten things that went wrong.
	Findings []string
}

// Verify compares what was noted so far.
func (l *Ledger) Verify() Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.SortFunc(l.delivered, byPlace)
	r := Report{Delivered: len(l.delivered)}
	type place struct{ topic, key string }
	type mark struct {
		partition int32
		seq       int
	}
	seen := map[string]Delivery{}
	last := map[place]mark{}
	for _, d := range l.delivered {
		e, known := l.written[d.ID]
		if !known {
			r.find(&r.Orphaned, "orphaned: %s", d)
			continue
		}
		if first, again := seen[d.ID]; again {
			r.find(&r.Duplicated, "duplicated: %s, first at %s", d, first)
			continue
		}
		seen[d.ID] = d
		if d.Key != e.key {
			r.find(&r.Altered, "altered: %s was written with key %q", d, e.key)
		}
		p := place{d.Topic, e.key}
		m, some := last[p]
		if some && (m.partition != d.Partition || m.seq >= e.seq) {
			r.find(&r.OutOfOrder, "out of order: %s with seq %d comes after seq %d in partition %d", d,
				e.seq, m.seq, m.partition)
		}
		if !some || e.seq > m.seq {
			last[p] = mark{d.Partition, e.seq}
		}
	}
	for id, e := range l.written {
		if e.unsure {
			r.Unsure++
			continue
		}
		r.Written++
		if _, ok := seen[id]; !ok {
			r.find(&r.Lost, "lost: event %s, key %q, seq %d", id, e.key, e.seq)
		}
	}
	return r
}

// byPlace orders records as a reader of one partition after the other meets them.
func byPlace(a, b Delivery) int {
	if c := strings.Compare(a.Topic, b.Topic); c != 0 {
		return c
	}
	if c := cmp.Compare(a.Partition, b.Partition); c != 0 {
		return c
	}
	return cmp.Compare(a.Offset, b.Offset)
}

func (r *Report) find(counter *int, format string, args ...any) {
	*counter++
	if len(r.Findings) < 10 {
		r.Findings = append(r.Findings, fmt.Sprintf(format, args...))
	}
}

// String is one line of counts.
func (r Report) String() string {
	return fmt.Sprintf(
		"written %d (and perhaps %d), delivered %d: %d lost, %d duplicated, %d out of order, %d "+
			"orphaned, %d altered",
		r.Written, r.Unsure, r.Delivered, r.Lost, r.Duplicated, r.OutOfOrder, r.Orphaned, r.Altered)
}

// ExactlyOnce is nil if every event came out once and in order; else it says what did not.
func (r Report) ExactlyOnce() error {
	if r.Duplicated > 0 {
		return r.err()
	}
	return r.AtLeastOnce()
}

// AtLeastOnce is [Report.ExactlyOnce], but for duplicates. Order is that of the first records.
func (r Report) AtLeastOnce() error {
	if r.Lost+r.OutOfOrder+r.Orphaned+r.Altered > 0 {
		return r.err()
	}
	return nil
}

func (r Report) err() error {
	return errors.New(r.String() + "\n  " + strings.Join(r.Findings, "\n  "))
}

// String tells where the record is.
func (d Delivery) String() string {
	return fmt.Sprintf("event %s, key %q at %s/%d/%d", d.ID, d.Key, d.Topic, d.Partition, d.Offset)
}
