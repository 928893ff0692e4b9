package consistency

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/internal/rawreply"
	"github.com/sluice-outbox/sluice/outbox"
)

const (
	readBytes   = 1 << 20 // what a reply to XRANGE aims at
	replyLimit  = 16 << 20
	readMost    = 5000 // entries a reply
	gentleMost  = 1000 // so that others do not wait long for Redis
	readAtFirst = 100
)

// redisStreams reads streams from a Redis deployment.
type redisStreams struct {
	primary  redis.UniversalClient
	replica  redis.UniversalClient // where entries are read; the primary if there is none
	outbox   string
	throttle *throttle
}

func (r *redisStreams) state(ctx context.Context, shard int) (streamState, error) {
	return r.stateOf(ctx, r.primary, shard)
}

func (r *redisStreams) stateOf(ctx context.Context, client redis.UniversalClient,
	shard int,
) (st streamState, err error) {
	key := outbox.StreamKey(r.outbox, shard)
	info, err := client.XInfoStream(ctx, key).Result()
	if err != nil {
		if redis.HasErrorPrefix(err, "ERR no such key") || strings.Contains(err.Error(), "no such key") {
			return st, nil
		}
		if redis.HasErrorPrefix(err, "WRONGTYPE") {
			return st, fmt.Errorf("redis: %s is not a stream: its key was replaced", key)
		}
		return st, fmt.Errorf("redis: XINFO STREAM %s: %w", key, err)
	}
	st.exists, st.length, st.added = true, info.Length, info.EntriesAdded
	// Redis before 7.0 has no counter, which go-redis shows as 0.
	st.counted = info.EntriesAdded > 0 || info.LastGeneratedID == "0-0"
	for _, x := range []struct {
		text string
		into *EntryID
	}{{info.LastGeneratedID, &st.last}, {info.FirstEntry.ID, &st.first}, {
		info.MaxDeletedEntryID,
		&st.maxDeleted,
	}} {
		if x.text == "" {
			continue
		}
		if *x.into, err = outbox.ParseEntryID(x.text); err != nil {
			return st, fmt.Errorf("redis: XINFO STREAM %s: %w", key, err)
		}
	}
	if info.Length > 0 && (info.LastGeneratedID == "" || info.FirstEntry.ID == "") {
		return r.edges(ctx, client, key, st)
	}
	return st, nil
}

// edges asks for the first and the last entry of a stream, for a server whose XINFO STREAM does not
// tell them. Nothing is known there of what was removed.
func (r *redisStreams) edges(ctx context.Context, client redis.UniversalClient, key string,
	st streamState,
) (streamState, error) {
	st.counted = false
	first, err := client.XRangeN(ctx, key, "-", "+", 1).Result()
	if err != nil {
		return st, fmt.Errorf("redis: XRANGE %s: %w", key, err)
	}
	last, err := client.XRevRangeN(ctx, key, "+", "-", 1).Result()
	if err != nil {
		return st, fmt.Errorf("redis: XREVRANGE %s: %w", key, err)
	}
	if len(first) == 0 || len(last) == 0 {
		return st, nil
	}
	if st.first, err = outbox.ParseEntryID(first[0].ID); err != nil {
		return st, err
	}
	st.last, err = outbox.ParseEntryID(last[0].ID)
	return st, err
}

func (r *redisStreams) read(ctx context.Context, shard int, after, to EntryID,
	fn func(rawEntry) error,
) error {
	client, err := r.reader(ctx, shard, to)
	if err != nil || !after.Less(to) {
		return err
	}
	pages := rangePages{
		client: client, key: outbox.StreamKey(r.outbox, shard), after: after, to: to,
		count: readAtFirst, limit: replyLimit, most: readMost,
	}
	if r.throttle.gentle() {
		pages.most = gentleMost
	}
	return prefetch(ctx, r.throttle, pages.next, func(p *rangePage) error {
		if err := r.throttle.take(ctx, len(p.entries)); err != nil {
			return err
		}
		for _, e := range p.entries {
			if err := fn(e); err != nil {
				return err
			}
		}
		return nil
	})
}

// reader is where the entries of a shard up to an ID are read: the replica, if there is one and it
// has come so far.
func (r *redisStreams) reader(ctx context.Context, shard int,
	to EntryID,
) (redis.UniversalClient, error) {
	if r.replica == nil {
		return r.primary, nil
	}
	st, err := r.stateOf(ctx, r.replica, shard)
	if err != nil {
		return nil, err
	}
	if st.last.Less(to) && to != lastID {
		return nil, fmt.Errorf(
			"redis: the replica has shard %d up to %s only, and %s is to be read: it lags behind", shard,
			st.last, to)
	}
	return r.replica, nil
}

// rangePages reads the entries in (after, to] page by page. The size of a page adapts to that of
// the entries. It belongs to one goroutine.
type rangePages struct {
	client    redis.UniversalClient
	key       string
	after, to EntryID
	count     int // entries of the next page
	most      int
	limit     int // bytes of a reply
}

// rangePage is a page; its entries are part of its buffer.
type rangePage struct {
	buf     []byte
	entries []rawEntry
}

// next reads a page, and says whether more follow.
func (r *rangePages) next(ctx context.Context, p *rangePage) (more bool, err error) {
	if err := r.ask(ctx, p); err != nil {
		return false, err
	}
	reply := reply{b: p.buf}
	if p.entries, err = reply.entries(p.entries[:0]); err != nil {
		return false, fmt.Errorf("redis: XRANGE %s: %w", r.key, err)
	}
	n := len(p.entries)
	if n < r.count {
		return false, nil
	}
	r.after = p.entries[n-1].id
	r.count = min(max(1, readBytes/max(1, len(p.buf)/n)), 2*r.count, r.most)
	r.limit = replyLimit
	return r.after.Less(r.to), nil
}

// ask sends XRANGE, for fewer and fewer entries as long as the reply is too large.
func (r *rangePages) ask(ctx context.Context, p *rangePage) error {
	for {
		buf, err := rawreply.Do(ctx, r.client, p.buf, r.limit, 1, "XRANGE", r.key, "("+r.after.String(),
			r.to.String(), "COUNT", r.count)
		switch {
		case errors.Is(err, rawreply.ErrTooLarge):
			// The connection is closed: what is left of the reply is not worth reading.
			if r.count == 1 {
				r.limit *= 4
			}
			r.count = max(1, r.count/8)
		case err != nil:
			return fmt.Errorf("redis: XRANGE %s: %w", r.key, err)
		default:
			p.buf = buf
			return nil
		}
	}
}

func (r *redisStreams) pending(ctx context.Context, shard int, id EntryID) (bool, error) {
	key := outbox.StreamKey(r.outbox, shard)
	found, err := r.primary.XPendingExt(ctx,
		&redis.XPendingExtArgs{
			Stream: key, Group: names.ConsumerGroup, Start: id.String(),
			End: id.String(), Count: 1,
		}).Result()
	if err != nil && !redis.HasErrorPrefix(err, "NOGROUP") {
		return false, fmt.Errorf("redis: XPENDING %s: %w", key, err)
	}
	return len(found) > 0, nil
}
