package relay

import (
	"sync"

	"github.com/sluice-outbox/sluice/outbox"
)

// quarantine remembers which entries of a shard Kafka refused for their content. They become dead
// letters, or halt the shard.
type quarantine struct {
	mu      sync.Mutex
	entries map[outbox.EntryID]deadLetter
}

func newQuarantine() *quarantine { return &quarantine{entries: map[outbox.EntryID]deadLetter{}} }

// empty is the usual case, and must cost nothing.
func (q *quarantine) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.entries) == 0
}

func (q *quarantine) add(d deadLetter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.entries[d.id] = d
}

// poison is why an entry was refused.
func (q *quarantine) poison(id outbox.EntryID) (deadLetter, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	d, ok := q.entries[id]
	return d, ok
}

// remove forgets why an entry was refused. Its shard halts for it; the cause may be gone when
// the entry is tried the next time.
func (q *quarantine) remove(id outbox.EntryID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.entries, id)
}

// release forgets entries that have been delivered or dead-lettered.
func (q *quarantine) release(ids []outbox.EntryID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, id := range ids {
		delete(q.entries, id)
	}
}
