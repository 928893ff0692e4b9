package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/outbox"
)

// atLeastOnce is one session of the other delivery: the consumer group holds the position, reads are XREADGROUP,
// records go out through the idempotent producer, and XACK follows when all records of a read are confirmed. What an
// earlier owner left pending is sent first, so that a dead relay's entries are neither stranded nor overtaken.
func (s *shard) atLeastOnce(ctx context.Context) error {
	if err := s.takeGroup(ctx); err != nil {
		return err
	}
	publisher, err := newPublisher(s.cfg, s.relay.topics.limit)
	if err != nil {
		return err
	}
	defer publisher.Close() // ends what is still buffered: the next session sends it again
	g := &groupReader{shard: s, reader: newStreamReader(s.cfg.Redis, s.id, s.key).bounded(s.cfg), preparer: s.preparer(), publisher: publisher}
	if err := g.claim(ctx); err != nil {
		return err
	}
	s.set(Running, "", nil)

	hard, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	defer context.AfterFunc(ctx, func() {
		sleep(hard, s.cfg.DrainTimeout)
		abandon()
	})()
	ahead, stopReading := context.WithCancel(ctx)
	defer stopReading()
	inFlight := make(chan *published, 8)
	var (
		wg      sync.WaitGroup
		readErr error
	)
	wg.Go(func() {
		defer close(inFlight)
		readErr = g.run(ahead, hard, inFlight)
	})
	wg.Go(func() { s.housekeep(ahead, g) })

	// Reads are confirmed in their order: the position moves over the finished prefix only.
	var ackErr error
	for p := range inFlight {
		if ackErr == nil {
			if ackErr = g.confirm(hard, p); ackErr != nil {
				stopReading()
			}
		}
		s.relay.budget.release(p.chunk)
	}
	stopReading()
	wg.Wait()
	if ackErr != nil {
		return s.blame(ackErr)
	}
	if readErr == nil || ctx.Err() != nil {
		g.leave(hard)
	}
	return readErr
}

// published is a chunk whose records are on their way.
type published struct {
	chunk *chunk
	began time.Time
	done  chan struct{} // closed when every promise was kept or broken

	mu       sync.Mutex
	open     int
	failures []recordError
}

func (p *published) promise(r *kgo.Record, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil && len(p.failures) < maxFailures {
		p.failures = append(p.failures, recordError{r.Topic, entryOf(r), err})
	}
	if p.open--; p.open == 0 {
		close(p.done)
	}
}

// groupReader reads through the consumer group. Its methods run one after the other, except confirm.
type groupReader struct {
	shard     *shard
	reader    *streamReader
	preparer  *preparer
	publisher *kgo.Client
	ages      []time.Duration
}

// claimInterval is how often entries are looked for that another consumer has taken: a paused owner whose
// blocked read came back after it had lost the shard.
const claimInterval = 5 * time.Second

func (g *groupReader) run(ctx, hard context.Context, out chan<- *published) error {
	lastClaim := time.Now()
	for ctx.Err() == nil {
		if time.Since(lastClaim) > claimInterval {
			lastClaim = time.Now()
			strayed, err := g.strayed(ctx)
			if err != nil {
				return err
			}
			if strayed {
				return errRestart // claims first thing
			}
		}
		raws, err := g.read(ctx)
		if err != nil {
			return err
		}
		if len(raws) == 0 {
			continue
		}
		p, err := g.publish(ctx, hard, raws)
		if err != nil {
			return err
		}
		out <- p
		if p.chunk.halt != nil {
			// Read, and not delivered: they stay pending, and are the first of the next session.
			return p.chunk.halt
		}
	}
	return g.publisher.Flush(hard)
}

// read takes new entries, or none after a short wait.
func (g *groupReader) read(ctx context.Context) ([]rawEntry, error) {
	r := g.reader
	reply, err := r.do(ctx, 9, "XREADGROUP", "GROUP", outbox.ConsumerGroup, g.shard.cfg.Instance, "COUNT", r.count, "BLOCK", readBlock.Milliseconds(), "STREAMS", r.key, ">")
	switch {
	case errors.Is(err, errReplyTooLarge):
		r.fewer()
		return nil, errRestart // what the lost reply held is pending now
	case hasPrefix(err, "NOGROUP"):
		// Destroyed by somebody. What it had confirmed is the last position this relay knows of.
		pos := g.shard.position()
		if err := g.shard.ensureGroup(ctx, pos.Entry, int64(pos.Count+pos.Missing)); err != nil {
			return nil, err
		}
		g.shard.log.Error("the consumer group was destroyed, made again at the last confirmed entry", "entry", pos.Entry.String())
		return nil, errRestart
	case err != nil || len(reply) == 0:
		return nil, err
	}
	// [[key, entries]], a map of one under RESP3, or nil
	p := parser{b: r.keep(reply)}
	kind, n, err := p.header()
	if err != nil || n <= 0 {
		return nil, err
	}
	if kind == '*' {
		if _, err := p.array(); err != nil {
			return nil, err
		}
	}
	if _, err := p.bulk(); err != nil {
		return nil, err
	}
	if r.buf, err = p.entries(r.buf[:0]); err != nil {
		return nil, fmt.Errorf("%s: %w", r.key, err)
	}
	r.adapt(len(reply), len(r.buf))
	return r.buf, nil
}

// publish prepares and produces entries; it does not wait for their records.
func (g *groupReader) publish(ctx, hard context.Context, raws []rawEntry) (*published, error) {
	c, err := g.preparer.chunk(ctx, raws)
	if err != nil {
		return nil, err
	}
	if err := g.shard.relay.budget.acquire(ctx, c); err != nil {
		return nil, err
	}
	p := &published{chunk: c, began: time.Now(), done: make(chan struct{}), open: len(c.records)}
	if p.open == 0 {
		close(p.done)
	}
	careful := !g.shard.quarantine.empty()
	for _, r := range c.records {
		if careful {
			if id := entryOf(r); g.shard.quarantine.isSuspect(id) {
				g.alone(hard, p, r, id)
				continue
			}
		}
		g.publisher.Produce(hard, r, p.promise)
	}
	return p, nil
}

// alone sends a suspect in a batch of its own, and remembers it as poison if the broker refuses it so.
func (g *groupReader) alone(ctx context.Context, p *published, r *kgo.Record, id EntryID) {
	err := g.publisher.Flush(ctx)
	if err == nil {
		err = g.publisher.ProduceSync(ctx, r).FirstErr()
	}
	p.promise(r, g.shard.refused(r, id, err))
}

// confirm waits for a chunk's records and acknowledges its entries.
func (g *groupReader) confirm(ctx context.Context, p *published) error {
	timeout := time.NewTimer(2 * g.shard.cfg.TransactionTimeout)
	defer timeout.Stop()
	select {
	case <-p.done:
	case <-ctx.Done():
		return ctx.Err()
	case <-timeout.C:
		return fmt.Errorf("kafka: records of shard %d are not confirmed after %s", g.shard.id, 2*g.shard.cfg.TransactionTimeout)
	}
	if len(p.failures) > 0 {
		for _, f := range p.failures {
			var halt *HaltError
			if errors.Is(f.err, errRestart) || errors.As(f.err, &halt) {
				return f.err
			}
		}
		return &deliveryError{p.failures}
	}
	s, c := g.shard, p.chunk
	if len(c.ids) == 0 {
		return nil
	}
	ids := make([]string, len(c.ids))
	for i, id := range c.ids {
		ids[i] = id.String()
	}
	if err := s.cfg.Redis.XAck(ctx, s.key, outbox.ConsumerGroup, ids...).Err(); err != nil {
		return fmt.Errorf("redis: XACK %s: %w", s.key, err)
	}
	pos := s.position()
	if pos.Entry.Compare(c.last()) < 0 {
		pos.Entry, pos.Fingerprint = c.last(), formatFingerprint(c.fingerprint)
	}
	pos.Count += uint64(len(c.ids))
	pos.At, pos.Relay = p.began, s.cfg.Instance
	s.committed(pos)
	s.delivered([]*chunk{c}, p.began, &g.ages)
	return nil
}

// claim takes over everything that is pending, whoever read it, in the order of the stream, and delivers it before
// anything new is read. Idle time does not matter: this relay owns the shard, whoever else has entries does not.
func (g *groupReader) claim(ctx context.Context) error {
	s, r := g.shard, g.reader
	others := map[string]bool{}
	consumers, err := s.cfg.Redis.XInfoConsumers(ctx, s.key, outbox.ConsumerGroup).Result()
	if err != nil {
		return fmt.Errorf("redis: XINFO CONSUMERS %s: %w", s.key, err)
	}
	for _, c := range consumers {
		others[c.Name] = c.Name != s.cfg.Instance
	}
	count := 64
	for cursor := "0-0"; ; {
		r.count = count
		reply, err := r.do(ctx, 1, "XAUTOCLAIM", r.key, outbox.ConsumerGroup, s.cfg.Instance, 0, cursor, "COUNT", count)
		if errors.Is(err, errReplyTooLarge) {
			r.fewer()
			count = r.count
			continue
		}
		if err != nil {
			return err
		}
		p := parser{b: r.keep(reply)}
		if _, err := p.array(); err != nil {
			return err
		}
		next, err := p.bulk()
		if err != nil {
			return err
		}
		if r.buf, err = p.entries(r.buf[:0]); err != nil {
			return fmt.Errorf("%s: %w", r.key, err)
		}
		deleted, err := p.array()
		if err == nil && deleted > 0 {
			s.log.Error("entries were deleted by somebody after they were read and before they were confirmed", "entries", deleted)
			s.mu.Lock()
			s.status.Missing += uint64(deleted)
			s.mu.Unlock()
		}
		if len(r.buf) > 0 {
			done, err := g.publish(ctx, ctx, r.buf)
			if err != nil {
				return err
			}
			err = g.confirm(ctx, done)
			s.relay.budget.release(done.chunk)
			if err != nil {
				return s.blame(err)
			}
			if done.chunk.halt != nil {
				return done.chunk.halt
			}
		}
		if cursor = string(next); cursor == "0-0" {
			break
		}
	}
	for name, other := range others {
		if other {
			g.forget(ctx, name)
		}
	}
	return nil
}

// strayed reports whether somebody else has entries of this shard.
func (g *groupReader) strayed(ctx context.Context) (bool, error) {
	pending, err := g.shard.cfg.Redis.XPending(ctx, g.shard.key, outbox.ConsumerGroup).Result()
	if err != nil {
		return false, fmt.Errorf("redis: XPENDING %s: %w", g.shard.key, err)
	}
	for name := range pending.Consumers {
		if name != g.shard.cfg.Instance {
			return true, nil
		}
	}
	return false, nil
}

// forgetConsumer removes a consumer that has nothing pending. XGROUP DELCONSUMER destroys what is pending, so that looking and
// removing must be one step.
//
// KEYS[1]: the stream. ARGV[1]: the group, ARGV[2]: the consumer. Returns 1 if it was removed, else 0.
var forgetConsumer = redis.NewScript(`
for _, c in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local name, pending
  for i = 1, #c, 2 do
    if c[i] == 'name' then name = c[i+1] elseif c[i] == 'pending' then pending = c[i+1] end
  end
  if name == ARGV[2] and pending == 0 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
    return 1
  end
end
return 0`)

func (g *groupReader) forget(ctx context.Context, consumer string) {
	if err := forgetConsumer.Run(ctx, g.shard.cfg.Redis, []string{g.shard.key}, outbox.ConsumerGroup, consumer).Err(); err != nil {
		g.shard.log.Warn("cannot remove an idle consumer from the group; it does no harm", "consumer", consumer, "error", err)
	}
}

// mirror has nothing to do: the group is the position itself.
func (g *groupReader) mirror(context.Context, Position, *redis.XInfoGroup) error { return nil }

// confirmed is below the first pending entry, whoever has it: an entry may be pending with an ex-owner that took it
// after it had lost the shard.
func (g *groupReader) confirmed(ctx context.Context, pos Position) (EntryID, error) {
	pending, err := g.shard.cfg.Redis.XPending(ctx, g.shard.key, outbox.ConsumerGroup).Result()
	if err != nil {
		return EntryID{}, fmt.Errorf("redis: XPENDING %s: %w", g.shard.key, err)
	}
	if pending.Count == 0 {
		return pos.Entry, nil
	}
	first, err := ParseEntryID(pending.Lower)
	if err != nil {
		return EntryID{}, err
	}
	if first.Compare(pos.Entry) <= 0 {
		return first.before(), nil
	}
	return pos.Entry, nil
}

func (g *groupReader) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	g.forget(ctx, g.shard.cfg.Instance)
}
