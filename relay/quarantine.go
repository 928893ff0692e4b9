package relay

import "sync"

// quarantine remembers, between the sessions of a shard, which entries the broker refused for what they are.
// Records are refused by the batch, so a refusal first makes suspects, which are then sent alone; what is refused alone is
// poison, and is dead-lettered or halts the shard.
type quarantine struct {
	mu       sync.Mutex
	suspects map[EntryID]bool
	poison   map[EntryID]deadLetter
}

func newQuarantine() *quarantine {
	return &quarantine{suspects: map[EntryID]bool{}, poison: map[EntryID]deadLetter{}}
}

// empty is the case that must cost nothing.
func (q *quarantine) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.suspects)+len(q.poison) == 0
}

func (q *quarantine) suspect(id EntryID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.suspects[id] = true
}

func (q *quarantine) isSuspect(id EntryID) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.suspects[id]
}

func (q *quarantine) condemn(d deadLetter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.suspects, d.id)
	q.poison[d.id] = d
}

// verdict is why an entry was refused alone.
func (q *quarantine) verdict(id EntryID) (deadLetter, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	d, ok := q.poison[id]
	return d, ok
}

// reconsider makes a condemned entry a suspect again: its shard halts for it, and what was wrong may be mended when it
// is tried the next time.
func (q *quarantine) reconsider(id EntryID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.poison[id]; ok {
		delete(q.poison, id)
		q.suspects[id] = true
	}
}

// release forgets entries that have been delivered or dead-lettered.
func (q *quarantine) release(ids []EntryID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, id := range ids {
		delete(q.suspects, id)
		delete(q.poison, id)
	}
}
