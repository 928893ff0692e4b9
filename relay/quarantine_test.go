package relay

import (
	"sync"
	"testing"

	"github.com/sluice-outbox/sluice/outbox"
)

func TestQuarantine(t *testing.T) {
	t.Parallel()
	q := newQuarantine()
	a, b := outbox.EntryID{MS: 1}, outbox.EntryID{MS: 2}
	expect := func(when string, empty, poisonA bool) {
		t.Helper()
		if _, poison := q.poison(a); q.empty() != empty || poison != poisonA {
			t.Errorf("%s: empty %v, poison %v; want %v, %v", when, q.empty(), poison, empty, poisonA)
		}
	}
	expect("new", true, false)
	q.remove(a)
	expect("reconsidered, though never poisoned", true, false)
	q.add(deadLetter{id: a, reason: ReasonTooLarge, detail: "why", topic: "t"})
	expect("poisoned", false, true)
	if d, _ := q.poison(a); d.reason != ReasonTooLarge || d.detail != "why" || d.topic != "t" ||
		d.id != a {
		t.Errorf("poisoned: %+v", d)
	}
	q.release([]outbox.EntryID{b})
	expect("another released", false, true)
	q.remove(a)
	expect("reconsidered", true, false)
	q.release([]outbox.EntryID{a, b})
	expect("released", true, false)
	q.add(deadLetter{id: a, reason: ReasonRejected})
	q.release([]outbox.EntryID{a})
	expect("poisoned and released", true, false)
}

// The reader and the sender of a session look at it at once.
func TestQuarantineConcurrently(t *testing.T) {
	t.Parallel()
	q := newQuarantine()
	var wg sync.WaitGroup
	for g := range uint64(4) {
		wg.Go(func() {
			for i := range uint64(200) {
				id := outbox.EntryID{MS: i, Seq: g}
				q.add(deadLetter{id: id, reason: ReasonRejected})
				q.poison(id)
				q.remove(id)
				q.empty()
				q.release([]outbox.EntryID{id})
			}
		})
	}
	wg.Wait()
	if !q.empty() {
		t.Errorf("left over: %d poisoned", len(q.entries))
	}
}
