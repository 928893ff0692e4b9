package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// producerLinger lets records of one transaction share batches; a flush ends it, so it adds no latency.
const producerLinger = 5 * time.Millisecond

// batchWait is how long a transaction collects while more is known to wait.
const batchWait = 50 * time.Millisecond

// exactlyOnce is one session: fence, position, then a reader that runs ahead of a sender, and housekeeping
// beside them. It returns why it ended.
func (s *shard) exactlyOnce(ctx context.Context) error {
	producers, err := newProducers(ctx, s.cfg, s.id, s.relay.topics.limit)
	if err != nil {
		return err
	}
	defer producers.close()
	if err := s.endHanging(ctx, producers); err != nil {
		return err
	}
	pos, err := s.startPosition(ctx, producers)
	if err != nil {
		return err
	}
	s.begin(pos)
	fp, err := parseFingerprint(pos.Fingerprint)
	if err != nil {
		return err
	}

	// A stop lets the open transaction finish: hard ends only DrainTimeout after ctx.
	hard, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	defer context.AfterFunc(ctx, func() {
		sleep(hard, s.cfg.DrainTimeout)
		abandon()
		producers.close()
	})()

	ahead, stopReading := context.WithCancel(ctx)
	chunks := make(chan *chunk, 64)
	var (
		wg      sync.WaitGroup
		readErr error
	)
	wg.Go(func() {
		defer close(chunks)
		reader := newStreamReader(s.cfg.Redis, s.id, s.key).bounded(s.cfg)
		readErr = reader.runAhead(ahead, anchor{pos.Entry, fp}, s.preparer(), s.cfg.MaxBytes, s.relay.budget, chunks)
	})
	mirror := &mirror{s}
	wg.Go(func() { s.housekeep(ahead, mirror) })

	sender := sender{shard: s, producers: producers, chunks: chunks, pos: pos}
	sendErr := sender.run(ctx, hard)
	stopReading()
	sender.release()
	wg.Wait()
	if !errors.Is(sendErr, errReaderEnded) {
		return sendErr
	}
	if ctx.Err() != nil { // told to stop: leave a true lag behind
		last, cancel := context.WithTimeout(hard, time.Second)
		defer cancel()
		_ = mirror.mirror(last, s.position(), nil)
	}
	return readErr
}

// errReaderEnded: the reader has stopped and says why.
var errReaderEnded = errors.New("reader ended")

// sender turns chunks into transactions, one at a time (invariant 5).
type sender struct {
	shard     *shard
	producers *producers
	chunks    <-chan *chunk
	held      *chunk // taken from chunks, but for the next transaction
	pos       Position
	batch     []*chunk
	ages      []time.Duration
}

// run ends between two transactions when soft does, and within one when hard does.
func (d *sender) run(soft, hard context.Context) error {
	for {
		first, ok := d.next(soft)
		if !ok {
			return errReaderEnded
		}
		if len(first.ids) == 0 {
			d.shard.relay.budget.release(first)
			if first.halt != nil {
				return first.halt
			}
			d.shard.set(Running, "", nil) // caught up, and the anchor stands
			continue
		}
		if err := d.transaction(soft, hard, first); err != nil {
			return err
		}
		d.shard.set(Running, "", nil)
		halt := d.batch[len(d.batch)-1].halt
		for _, c := range d.batch {
			c.recycle()
		}
		if halt != nil {
			return halt
		}
	}
}

func (d *sender) next(ctx context.Context) (*chunk, bool) {
	if ctx.Err() != nil {
		return nil, false
	}
	if c := d.held; c != nil {
		d.held = nil
		return c, true
	}
	c, ok := <-d.chunks // closed by the reader when ctx ends
	return c, ok
}

// transaction sends first and what waits behind it, up to the bounds, and commits. It is small when the shard is
// idle and grows with the backlog, because the next one collects while this one commits.
func (d *sender) transaction(soft, hard context.Context, first *chunk) (err error) {
	began := time.Now()
	cfg := d.shard.cfg
	d.batch = append(d.batch[:0], first)
	defer func() {
		for _, c := range d.batch {
			d.shard.relay.budget.release(c)
		}
		if err != nil {
			err = d.shard.blame(err)
		}
	}()
	ctx, cancel := context.WithTimeout(hard, cfg.TransactionTimeout)
	defer cancel()
	if err := d.producers.begin(); err != nil {
		return fmt.Errorf("kafka: begin transaction: %w", err)
	}
	if err := d.send(ctx, first); err != nil {
		return err
	}
	entries, bytes := len(first.ids), first.bytes
	timer := time.NewTimer(batchWait)
	defer timer.Stop()
collect:
	for last := first; soft.Err() == nil && last.halt == nil && entries < cfg.MaxEntries && bytes < cfg.MaxBytes; {
		var (
			c  *chunk
			ok bool
		)
		select {
		case c, ok = <-d.chunks:
		default:
			if last.atEnd {
				break collect // nobody waits
			}
			select {
			case c, ok = <-d.chunks:
			case <-timer.C:
				break collect
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if !ok {
			break collect // commit what is there; the reader's reason comes with the next chunk
		}
		if entries+len(c.ids) > cfg.MaxEntries || bytes+c.bytes > cfg.MaxBytes {
			d.held = c
			break collect
		}
		d.batch = append(d.batch, c)
		last = c
		if err := d.send(ctx, c); err != nil {
			return err
		}
		entries, bytes = entries+len(c.ids), bytes+c.bytes
	}
	pos := d.pos
	for _, c := range d.batch {
		if n := len(c.ids); n > 0 {
			pos.Entry, pos.Fingerprint = c.last(), formatFingerprint(c.fingerprint)
			pos.Count += uint64(n)
		}
	}
	pos.Delivery, pos.Missing, pos.At, pos.Relay = ExactlyOnce, d.shard.missing(), began, cfg.Instance
	if err := d.producers.commit(ctx, pos); err != nil {
		return err
	}
	d.pos = pos
	d.shard.committed(pos)
	d.shard.delivered(d.batch, began, &d.ages)
	if tell := cfg.Observer.Transaction; tell != nil {
		tell(Transaction{Shards: 1, Entries: entries, Bytes: bytes, Took: time.Since(began)})
	}
	return nil
}

func (d *sender) send(ctx context.Context, c *chunk) error {
	if d.shard.quarantine.empty() {
		d.producers.send(ctx, c.records)
		return nil
	}
	for i, r := range c.records {
		id := entryOf(r)
		if !d.shard.quarantine.isSuspect(id) {
			d.producers.send(ctx, c.records[i:i+1])
			continue
		}
		if err := d.producers.sendAlone(ctx, r); err != nil {
			return d.shard.refused(r, id, err)
		}
	}
	return nil
}

// refused decides about a record that was sent alone and failed: one that the broker refuses for what it is is
// condemned, to become a dead letter in the next session; if that is refused as well the shard halts.
func (s *shard) refused(r *kgo.Record, id EntryID, err error) error {
	reason, poison := poisonReason(err)
	switch {
	case err == nil:
		return nil
	case !poison:
		return &recordError{r.Topic, id, err}
	case r.Topic == s.cfg.DeadLetter.Topic:
		return &HaltError{Shard: s.id, Entry: id, Reason: fmt.Sprintf("the dead-letter topic %s refuses entry %s: %v; its max.message.bytes must be above 600 kB", r.Topic, id, err)}
	}
	s.quarantine.condemn(deadLetter{id: id, reason: reason, detail: err.Error(), topic: r.Topic})
	return errRestart
}

// release gives back what the sender did not send.
func (d *sender) release() {
	if d.held != nil {
		d.shard.relay.budget.release(d.held)
	}
	for c := range d.chunks {
		d.shard.relay.budget.release(c)
	}
}

// blame looks at why records failed. Those that the broker refuses for what they are become suspects, to be sent alone in
// the next session; topics that are not as they were known are looked at anew.
func (s *shard) blame(err error) error {
	var failed *deliveryError
	if !errors.As(err, &failed) {
		return err
	}
	poison := false
	for _, f := range failed.failures {
		s.relay.topics.forget(f.topic)
		if _, ok := poisonReason(f.err); ok && !f.id.IsZero() {
			s.quarantine.suspect(f.id)
			poison = true
		}
	}
	if poison {
		s.log.Warn("broker refuses a record, sending suspects one by one", "error", err)
		return errRestart
	}
	return err
}

// delivered tells the observer of chunks that have become visible.
func (s *shard) delivered(chunks []*chunk, began time.Time, ages *[]time.Duration) {
	obs := s.cfg.Observer
	if obs.Committed != nil {
		now := time.Now()
		commit := Commit{Shard: s.id, Topics: map[string]int{}, Took: now.Sub(began)}
		*ages = (*ages)[:0]
		for _, c := range chunks {
			commit.Entries += len(c.ids)
			commit.Bytes += c.bytes
			for _, id := range c.ids {
				*ages = append(*ages, now.Sub(time.UnixMilli(int64(min(id.MS, 1<<62)))))
			}
			for _, r := range c.records {
				commit.Topics[r.Topic]++
			}
		}
		commit.Ages = *ages
		obs.Committed(commit)
	}
	var first deadLetter
	dead := 0
	for _, c := range chunks {
		for _, d := range c.dead {
			if dead++; dead == 1 {
				first = d
			}
			if obs.DeadLettered != nil {
				obs.DeadLettered(s.id, d.id, d.reason)
			}
		}
		if !s.quarantine.empty() {
			s.quarantine.release(c.ids)
		}
	}
	if dead > 0 {
		s.log.Warn("entries dead-lettered", "entries", dead, "first", first.id.String(), "reason", string(first.reason), "detail", first.detail)
	}
}

func (s *shard) preparer() *preparer {
	router, err := s.cfg.router()
	if err != nil {
		panic("relay: route was valid when the relay was made: " + err.Error())
	}
	return &preparer{
		shard: s.id, deadLetter: s.cfg.DeadLetter, topics: s.relay.topics, router: router, quarantine: s.quarantine,
		formatter: formatter{
			format: s.cfg.Format, source: s.cfg.Source, tombstones: s.cfg.Tombstones,
			prefix: positionKey(s.cfg.Outbox, s.id) + "/", now: time.Now,
		},
	}
}
