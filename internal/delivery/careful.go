package delivery

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Kafka refuses records by the batch, and a transaction with a refused record is lost. So a shard
// that had one refused is careful: in a lane of its own its records are tried in a transaction that
// is never committed (trial.go), and only those that pass are sent. One trial finds all that are
// refused, whatever their number.

const (
	tryEntries = 2000
	tryBytes   = 1 << 20
	tryTimeout = 5 * time.Second
)

// tryCareful takes a run of batches of a careful seat and tries their records. Refusals go back to
// the source.
func (l *lane) tryCareful() error {
	l.tried = l.tried[:0]
	if l.kind != alone {
		return nil
	}
	l.mu.Lock()
	seats := l.seats
	l.mu.Unlock()
	for _, s := range seats {
		if !s.careful {
			continue
		}
		var records []*kgo.Record
		entries, bytes := 0, 0
		fits := func(b *Batch) bool {
			return len(l.tried) == 0 || entries+b.Entries <= tryEntries &&
				bytes+b.Bytes <= min(tryBytes, l.pace.limit)
		}
		for b := s.next(fits); b != nil; b = s.next(fits) {
			l.tried = append(l.tried, b)
			records = append(records, b.Records...)
			entries, bytes = entries+b.Entries, bytes+b.Bytes
		}
		if len(records) == 0 {
			continue
		}
		l.doingNow("records that may be refused are tried")
		ctx, cancel := context.WithTimeout(l.engine.hard, tryTimeout)
		refusals, err := l.engine.Try(ctx, records)
		cancel()
		if err == nil && len(refusals) == 0 {
			l.careful = s
			return nil
		}
		for _, b := range l.tried {
			l.engine.budget.release(b)
		}
		l.tried = l.tried[:0]
		if err != nil {
			return err
		}
		s.refuse(refusals)
	}
	return nil
}

// sendTried adds the batches that have passed to the transaction.
func (l *lane) sendTried(produce produceFunc) {
	for _, b := range l.tried {
		l.add(l.careful, b, produce)
	}
	l.tried = l.tried[:0]
}
