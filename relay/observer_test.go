package relay

import (
	"sync"
	"testing"
	"time"
)

// What is told of transactions is, in sum, what is told of their shards' commits; who counts
// commits counts no transactions.
func TestTransactionsAreTold(t *testing.T) {
	t.Parallel()
	for _, delivery := range []Delivery{DeliveryExactlyOnce, DeliveryAtLeastOnce} {
		t.Run(delivery.String(), func(t *testing.T) {
			t.Parallel()
			inTestEnv(t, 2, func(t *testing.T, l *testEnv) {
				var (
					mu           sync.Mutex
					transactions int
					commits, all Transaction // sums
				)
				cfg := l.config()
				cfg.Delivery = delivery
				cfg.Observer.Committed = func(c Commit) {
					mu.Lock()
					defer mu.Unlock()
					commits.Shards++
					commits.Entries += c.Entries
					commits.Bytes += c.Bytes
				}
				cfg.Observer.Transaction = func(x Transaction) {
					mu.Lock()
					defer mu.Unlock()
					transactions++
					all.Shards += x.Shards
					all.Entries += x.Entries
					all.Bytes += x.Bytes
					if x.Shards < 1 || x.Entries < x.Shards || x.Took < 0 {
						t.Errorf("told of %+v", x)
					}
				}
				_, stop := l.run(cfg)
				for round := range 3 {
					l.addEvents(0, 10*round, 10)
					l.addEvents(1, 10*round, 5)
					time.Sleep(2 * time.Second) // of the bubble
				}
				stop()
				if commits.Entries != 45 {
					t.Fatalf("%d entries were committed, want 45", commits.Entries)
				}
				if delivery == DeliveryAtLeastOnce {
					if transactions != 0 {
						t.Errorf("told of %d transactions, there were none", transactions)
					}
					return
				}
				if all != commits {
					t.Errorf("%d transactions had %+v, the commits of shards %+v", transactions, all, commits)
				}
			})
		})
	}
}
