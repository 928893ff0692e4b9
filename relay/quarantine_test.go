package relay

import (
	"sync"
	"testing"
)

func TestQuarantine(t *testing.T) {
	t.Parallel()
	q := newQuarantine()
	a, b := EntryID{1, 0}, EntryID{2, 0}
	expect := func(when string, empty, suspectA, poisonA bool) {
		t.Helper()
		_, poison := q.verdict(a)
		if q.empty() != empty || q.isSuspect(a) != suspectA || poison != poisonA {
			t.Errorf("%s: empty %v, suspect %v, poison %v; want %v, %v, %v", when, q.empty(), q.isSuspect(a), poison, empty, suspectA, poisonA)
		}
	}
	expect("new", true, false, false)
	q.reconsider(a)
	expect("reconsidered, though never condemned", true, false, false)
	q.suspect(a)
	expect("suspected", false, true, false)
	q.condemn(deadLetter{id: a, reason: TooLarge, detail: "why", topic: "t"})
	expect("condemned", false, false, true)
	if d, _ := q.verdict(a); d.reason != TooLarge || d.detail != "why" || d.topic != "t" || d.id != a {
		t.Errorf("verdict %+v", d)
	}
	q.release([]EntryID{b})
	expect("another released", false, false, true)
	q.reconsider(a)
	expect("reconsidered", false, true, false)
	q.release([]EntryID{a, b})
	expect("released", true, false, false)
	q.condemn(deadLetter{id: a, reason: Rejected})
	q.release([]EntryID{a})
	expect("condemned and released", true, false, false)
}

// The reader and the sender of a session look at it at once.
func TestQuarantineConcurrently(t *testing.T) {
	t.Parallel()
	q := newQuarantine()
	var wg sync.WaitGroup
	for g := range uint64(4) {
		wg.Go(func() {
			for i := range uint64(200) {
				id := EntryID{i, g}
				q.suspect(id)
				q.isSuspect(id)
				q.condemn(deadLetter{id: id, reason: Rejected})
				q.verdict(id)
				q.reconsider(id)
				q.empty()
				q.release([]EntryID{id})
			}
		})
	}
	wg.Wait()
	if !q.empty() {
		t.Errorf("left over: %d suspects, %d condemned", len(q.suspects), len(q.poison))
	}
}
