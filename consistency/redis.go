package consistency

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/outbox"
)

const (
	readBytes   = 1 << 20 // what a reply to XRANGE aims at
	replyLimit  = 16 << 20
	readMost    = 5000 // entries a reply
	readAtFirst = 100
)

// redisStreams reads streams from a Redis deployment.
type redisStreams struct {
	primary redis.UniversalClient
	replica redis.UniversalClient // where entries are read; the primary if there is none
	outbox  string
	pace    *pace
}

func (r *redisStreams) state(ctx context.Context, shard int) (streamState, error) {
	return r.stateOf(ctx, r.primary, shard)
}

func (r *redisStreams) stateOf(ctx context.Context, client redis.UniversalClient, shard int) (st streamState, err error) {
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
	}{{info.LastGeneratedID, &st.last}, {info.FirstEntry.ID, &st.first}, {info.MaxDeletedEntryID, &st.maxDeleted}} {
		if x.text == "" {
			continue
		}
		if *x.into, err = ParseEntryID(x.text); err != nil {
			return st, fmt.Errorf("redis: XINFO STREAM %s: %w", key, err)
		}
	}
	if info.Length > 0 && (info.LastGeneratedID == "" || info.FirstEntry.ID == "") {
		return r.edges(ctx, client, key, st)
	}
	return st, nil
}

// edges asks for the first and the last entry of a stream, for a server whose XINFO STREAM does not tell them. Nothing is known there of
// what was removed.
func (r *redisStreams) edges(ctx context.Context, client redis.UniversalClient, key string, st streamState) (streamState, error) {
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
	if st.first, err = ParseEntryID(first[0].ID); err != nil {
		return st, err
	}
	st.last, err = ParseEntryID(last[0].ID)
	return st, err
}

func (r *redisStreams) read(ctx context.Context, shard int, after, to EntryID, fn func(rawEntry) error) error {
	client := r.primary
	if r.replica != nil {
		client = r.replica
		st, err := r.stateOf(ctx, client, shard)
		if err != nil {
			return err
		}
		if st.last.Less(to) && to != lastID {
			return fmt.Errorf("redis: the replica has shard %d up to %s only, and %s is to be read: it lags behind", shard, st.last, to)
		}
	}
	key := outbox.StreamKey(r.outbox, shard)
	var (
		count   = readAtFirst
		limit   = replyLimit
		buf     []byte
		entries []rawEntry
	)
	for after.Less(to) {
		b := replyBuffer{b: buf[:0], limit: limit}
		cmd := redis.NewRawWriteToCmd(ctx, &b, "XRANGE", key, "("+after.String(), to.String(), "COUNT", count)
		cmd.SetFirstKeyPos(1) // go-redis cannot tell by itself, and a cluster client needs it
		err := client.Process(ctx, cmd)
		switch {
		case errors.Is(err, errReplyTooLarge):
			// The connection is closed: what is left of the reply is not worth reading.
			if count == 1 {
				limit *= 4
			}
			count = max(1, count/8)
			continue
		case err != nil && !errors.Is(err, redis.Nil):
			return fmt.Errorf("redis: XRANGE %s: %w", key, err)
		}
		buf = b.b
		rest := reply{b: buf}
		if entries, err = rest.entries(entries[:0]); err != nil {
			return fmt.Errorf("redis: XRANGE %s: %w", key, err)
		}
		if err := r.pace.take(ctx, len(entries)); err != nil {
			return err
		}
		for _, e := range entries {
			if err := fn(e); err != nil {
				if errors.Is(err, errStop) {
					return nil
				}
				return err
			}
		}
		if len(entries) < count {
			return nil
		}
		after = entries[len(entries)-1].id
		count = min(max(1, readBytes/max(1, len(buf)/len(entries))), 2*count, readMost)
		limit = replyLimit
	}
	return nil
}

func (r *redisStreams) pending(ctx context.Context, shard int, id EntryID) (bool, error) {
	key := outbox.StreamKey(r.outbox, shard)
	found, err := r.primary.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: key, Group: outbox.ConsumerGroup, Start: id.String(), End: id.String(), Count: 1}).Result()
	if err != nil && !redis.HasErrorPrefix(err, "NOGROUP") {
		return false, fmt.Errorf("redis: XPENDING %s: %w", key, err)
	}
	return len(found) > 0, nil
}
