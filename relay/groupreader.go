package relay

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/delivery"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/internal/rawreply"
	"github.com/sluice-outbox/sluice/internal/retry"
	"github.com/sluice-outbox/sluice/outbox"
)

// groupReader reads through the consumer group. Its methods run one after the other, except
// confirm.
type groupReader struct {
	stream    *stream
	reader    *streamReader
	preparer  *preparer
	publisher *kgo.Client
	flying    atomic.Int64 // entries that were read and are not acknowledged
	lost      bool         // the last look found entries of this consumer's that are not under way
	asked     time.Time    // when the last read began
}

// claimInterval is how often the reader looks for entries that another consumer has taken. A paused
// owner does that whose blocked read returns after it has lost the shard.
const claimInterval = 5 * time.Second

func (g *groupReader) run(ctx, hard context.Context, out chan<- *published) error {
	lastClaim := time.Now()
	g.asked = lastClaim
	for g.belongs(ctx) {
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
		g.asked = time.Now()
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

// belongs reports whether the next read may begin. A process that was stopped for longer than its
// session does not know yet that the shard is another's. What it read now would be sent beside what
// the new owner reads, out of order. So it first gives the group the time to tell: then ctx ends.
func (g *groupReader) belongs(ctx context.Context) bool {
	if session := g.stream.cfg.SessionTimeout; time.Since(g.asked) > session/2 {
		_ = retry.Sleep(ctx, session/2) // its error is ctx's
	}
	return ctx.Err() == nil
}

// read takes new entries, or none after a short wait.
func (g *groupReader) read(ctx context.Context) ([]rawEntry, error) {
	r := g.reader
	reply, err := r.do(ctx, 9, "XREADGROUP", "GROUP", names.ConsumerGroup, g.stream.cfg.Instance,
		"COUNT", r.count, "BLOCK", readBlock.Milliseconds(), "STREAMS", r.key, ">")
	switch {
	case errors.Is(err, rawreply.ErrTooLarge):
		r.fewer()
		return nil, errRestart // what the lost reply held is pending now
	case hasPrefix(err, "NOGROUP"):
		// Somebody destroyed the group. The last position that this relay knows of is the one it had.
		pos := g.stream.tracker.position()
		if err := g.stream.group.ensure(ctx, pos.Entry, int64(pos.Count+pos.Missing)); err != nil {
			return nil, err
		}
		g.stream.log.Error("the consumer group was destroyed, made again at the last confirmed entry",
			"entry", pos.Entry.String())
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
	g.flying.Add(int64(len(raws)))
	held := &delivery.Batch{Cost: c.cost}
	if err := g.stream.relay.engine.Hold(ctx, held); err != nil {
		return nil, err
	}
	p := &published{
		chunk: c, held: held, began: time.Now(), done: make(chan struct{}),
		open: len(c.records),
	}
	if p.open == 0 {
		close(p.done)
	}
	for _, r := range c.records {
		g.publisher.Produce(hard, r, p.promise)
	}
	return p, nil
}

// confirm waits for a chunk's records and acknowledges its entries.
func (g *groupReader) confirm(ctx context.Context, p *published) error {
	timeout := time.NewTimer(2 * g.stream.cfg.TransactionTimeout)
	defer timeout.Stop()
	select {
	case <-p.done:
	case <-ctx.Done():
		return ctx.Err()
	case <-timeout.C:
		return fmt.Errorf("kafka: records of shard %d are not confirmed after %s", g.stream.id,
			2*g.stream.cfg.TransactionTimeout)
	}
	if len(p.failures) > 0 {
		return &deliveryError{p.failures, p.refused}
	}
	s, c := g.stream, p.chunk
	if len(c.ids) == 0 {
		return nil
	}
	ids := make([]string, len(c.ids))
	for i, id := range c.ids {
		ids[i] = id.String()
	}
	if err := s.cfg.Redis.XAck(ctx, s.key, names.ConsumerGroup, ids...).Err(); err != nil {
		return fmt.Errorf("redis: XACK %s: %w", s.key, err)
	}
	pos := s.tracker.position()
	if pos.Entry.Compare(c.last()) < 0 {
		pos.Entry, pos.Fingerprint = c.last(), formatFingerprint(c.fingerprint)
	}
	pos.Count += uint64(len(c.ids))
	pos.At, pos.Relay = p.began, s.cfg.Instance
	g.flying.Add(-int64(len(c.ids)))
	s.tracker.committed(pos)
	s.keeper.notice()
	s.delivered([]*chunk{c}, p.began)
	return nil
}

// claim takes over everything that is pending, whoever read it, in the order of the stream, and
// delivers it before anything new is read. Idle time does not matter: this relay owns the shard,
// and nobody else does.
func (g *groupReader) claim(ctx context.Context) error {
	s, r := g.stream, g.reader
	others := map[string]bool{}
	consumers, err := s.cfg.Redis.XInfoConsumers(ctx, s.key, names.ConsumerGroup).Result()
	if err != nil {
		return fmt.Errorf("redis: XINFO CONSUMERS %s: %w", s.key, err)
	}
	for _, c := range consumers {
		others[c.Name] = c.Name != s.cfg.Instance
	}
	count := 64
	for cursor := "0-0"; ; {
		r.count = count
		reply, err := r.do(ctx, 1, "XAUTOCLAIM", r.key, names.ConsumerGroup, s.cfg.Instance, 0, cursor,
			"COUNT", count)
		if errors.Is(err, rawreply.ErrTooLarge) {
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
			s.log.Error("entries were deleted by somebody after they were read and before they were "+
				"confirmed", "entries", deleted)
			s.tracker.lost(int64(deleted))
		}
		if len(r.buf) > 0 {
			done, err := g.publish(ctx, ctx, r.buf)
			if err != nil {
				return err
			}
			err = g.confirm(ctx, done)
			s.relay.engine.Free(done.held)
			if err != nil {
				return s.blame(ctx, err)
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

// strayed reports whether entries of this shard are pending that nobody sends. They are pending
// with another consumer, or with this one: a reply was lost, and the client repeated the read and
// got later entries. The latter count when two looks find them.
func (g *groupReader) strayed(ctx context.Context) (bool, error) {
	pending, err := g.stream.cfg.Redis.XPending(ctx, g.stream.key, names.ConsumerGroup).Result()
	if err != nil {
		return false, fmt.Errorf("redis: XPENDING %s: %w", g.stream.key, err)
	}
	for name := range pending.Consumers {
		if name != g.stream.cfg.Instance {
			return true, nil
		}
	}
	lost := pending.Consumers[g.stream.cfg.Instance] > 0 && g.flying.Load() == 0
	again := lost && g.lost
	g.lost = lost
	return again, nil
}

// forgetConsumer removes a consumer that has nothing pending. XGROUP DELCONSUMER destroys what is
// pending, so looking and removing must be one step.
//
// KEYS[1]: the stream. ARGV[1]: the group, ARGV[2]: the consumer. Returns 1 if it was removed, else
// 0.
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
	if err := forgetConsumer.Run(ctx, g.stream.cfg.Redis, []string{g.stream.key}, names.ConsumerGroup,
		consumer).Err(); err != nil {
		g.stream.log.Warn("cannot remove an idle consumer from the group; it does no harm",
			"consumer", consumer, "error", err)
	}
}

// mirror has nothing to do: the group is the position itself.
func (g *groupReader) mirror(context.Context, Position, *redis.XInfoGroup) error { return nil }

// confirmed is below the first pending entry, whoever has it: an entry may be pending with an
// ex-owner that took it after it had lost the shard.
func (g *groupReader) confirmed(ctx context.Context, pos Position) (outbox.EntryID, error) {
	pending, err := g.stream.cfg.Redis.XPending(ctx, g.stream.key, names.ConsumerGroup).Result()
	if err != nil {
		return outbox.EntryID{}, fmt.Errorf("redis: XPENDING %s: %w", g.stream.key, err)
	}
	if pending.Count == 0 {
		return pos.Entry, nil
	}
	first, err := outbox.ParseEntryID(pending.Lower)
	if err != nil {
		return outbox.EntryID{}, err
	}
	if first.Compare(pos.Entry) <= 0 {
		return first.Prev(), nil
	}
	return pos.Entry, nil
}

func (g *groupReader) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	g.forget(ctx, g.stream.cfg.Instance)
}
