package relay

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// consumerGroup is the Redis consumer group of a shard's stream. In exactly-once delivery it shows
// the committed position to Redis's own tools, in at-least-once delivery it is the position.
type consumerGroup struct {
	client redis.UniversalClient
	key    string
}

// info is what Redis says about the group; nil if it or its stream does not exist.
func (g consumerGroup) info(ctx context.Context) (*redis.XInfoGroup, error) {
	groups, err := g.client.XInfoGroups(ctx, g.key).Result()
	if isWrongType(err) {
		return nil, notAStream(g.key)
	}
	if err != nil && !hasPrefix(err, "ERR no such key") {
		return nil, fmt.Errorf("redis: XINFO GROUPS %s: %w", g.key, err)
	}
	for i := range groups {
		if groups[i].Name == names.ConsumerGroup {
			return &groups[i], nil
		}
	}
	return nil, nil
}

// set moves the group to a position and forgets what it had pending, all of which is delivered.
func (g consumerGroup) set(ctx context.Context, at outbox.EntryID, count int64) error {
	if err := g.ensure(ctx, at, count); err != nil {
		return err
	}
	if err := g.move(ctx, at, count); err != nil && !isUnknownCommand(err) {
		return err
	}
	return g.acknowledge(ctx, at)
}

// acknowledge forgets what the group has pending at or below an entry.
func (g consumerGroup) acknowledge(ctx context.Context, at outbox.EntryID) error {
	for {
		pending, err := g.client.XPendingExt(ctx,
			&redis.XPendingExtArgs{
				Stream: g.key, Group: names.ConsumerGroup, Start: "-", End: at.String(),
				Count: 1000,
			}).Result()
		if err != nil {
			return fmt.Errorf("redis: XPENDING %s: %w", g.key, err)
		}
		if len(pending) == 0 {
			return nil
		}
		ids := make([]string, len(pending))
		for i, p := range pending {
			ids[i] = p.ID
		}
		if err := g.client.XAck(ctx, g.key, names.ConsumerGroup, ids...).Err(); err != nil {
			return fmt.Errorf("redis: XACK %s: %w", g.key, err)
		}
	}
}

// ensure creates the group, at a position, if it is not there. It does not create the stream.
func (g consumerGroup) ensure(ctx context.Context, at outbox.EntryID, count int64) error {
	args := []any{"XGROUP", "CREATE", g.key, names.ConsumerGroup, at.String()}
	if count >= 0 {
		args = append(args, "ENTRIESREAD", count)
	}
	err := g.client.Do(ctx, args...).Err()
	if err != nil && isUnknownCommand(err) && count >= 0 {
		err = g.client.Do(ctx, args[:5]...).Err()
	}
	if err != nil && !hasPrefix(err, "BUSYGROUP") {
		return fmt.Errorf("redis: XGROUP CREATE %s: %w", g.key, err)
	}
	return nil
}

func (g consumerGroup) move(ctx context.Context, at outbox.EntryID, count int64) error {
	return g.client.Do(ctx, "XGROUP", "SETID", g.key, names.ConsumerGroup, at.String(), "ENTRIESREAD",
		count).Err()
}

// mirror shows a committed position. It looks at the group first, because an ex-owner that was
// paused may have set it back, and because a group that was destroyed is made again at the
// position. group is what it shows now, nil if that is not known.
func (g consumerGroup) mirror(ctx context.Context, at outbox.EntryID, count int64,
	group *redis.XInfoGroup,
) error {
	if group != nil && group.LastDeliveredID == at.String() && group.EntriesRead == count {
		return nil
	}
	// left by at-least-once delivery; all of it is delivered
	if group != nil && group.Pending > 0 {
		if err := g.acknowledge(ctx, at); err != nil {
			return err
		}
	}
	err := g.move(ctx, at, count)
	switch {
	case err == nil, isUnknownCommand(err):
		return nil
	case hasPrefix(err, "NOGROUP"):
		return g.ensure(ctx, at, count)
	case hasPrefix(err, "ERR The XGROUP subcommand requires the key to exist"):
		return nil // the reader halts for it
	}
	return fmt.Errorf("redis: XGROUP SETID %s: %w", g.key, err)
}
