package relay

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// Where a shard begins. Kafka's positions topic is always asked first: its last record holds the
// position (exactly-once), or says that the consumer group has it (at-least-once). A change to
// at-least-once writes such a record before anything else, in a transaction on fenced ids, so that
// an exactly-once owner cannot go on. A change to exactly-once cannot fence an at-least-once owner,
// which has no epoch. Until that owner learns that it has lost the shard it may repeat records, as
// at-least-once delivery may.

// beginning finds out where a shard begins.
type beginning struct {
	cfg   *Config
	shard int
	key   string
	group consumerGroup
	log   *slog.Logger
}

// position is where delivery goes on, given what Kafka has; nil is nothing. The shard is claimed
// and its earlier owners are fenced, so the position is final (invariant 1).
func (b *beginning) position(ctx context.Context, committed json.RawMessage) (Position, error) {
	if committed == nil {
		return b.first(ctx)
	}
	var pos Position
	if err := json.Unmarshal(committed, &pos); err != nil {
		return pos, &HaltError{
			Shard:  b.shard,
			Reason: fmt.Sprintf("the committed position cannot be read: %v", err),
		}
	}
	if pos.Delivery == DeliveryAtLeastOnce {
		return b.ofGroup(ctx)
	}
	return b.reconcile(ctx, pos)
}

// reconcile applies the policy if the stream does not hold the entry at the position. It looks
// once; the reader checks the anchor with every read (invariant 6).
func (b *beginning) reconcile(ctx context.Context, pos Position) (Position, error) {
	fp, err := parseFingerprint(pos.Fingerprint)
	if err != nil || fp == 0 {
		return pos, err
	}
	found, err := newStreamReader(b.cfg.Redis, b.shard, b.key).first(ctx, pos.Entry)
	if err != nil {
		return pos, err
	}
	var entries []rawEntry
	if found != nil {
		entries = []rawEntry{*found}
	}
	halt := checkAnchor(b.shard, anchor{pos.Entry, fp}, entries)
	switch {
	case halt == nil:
		return pos, nil
	case b.cfg.OnMismatch != MismatchContinue:
		return pos, halt
	case found != nil && found.id == pos.Entry:
		halt.Reason = "Redis has given the ID of the last delivered entry to another one; whether " +
			"that was delivered cannot be decided by policy: compare both sides, then run sluice resume"
		return pos, halt
	}
	b.log.Error("anchor is gone, going on after it by policy: entries with IDs at or below it that "+
		"were added since the roll-back are not delivered",
		"expected", halt.Expected, "found", halt.Found)
	return PositionAfter(ctx, b.cfg.Redis, b.cfg.Outbox, b.shard, pos.Entry)
}

// first is where a shard begins of which Kafka has no position: at the stream's first entry, if
// that is provably the first ever: nothing trimmed, nothing deleted, nothing delivered.
func (b *beginning) first(ctx context.Context) (Position, error) {
	info, err := streamInfo(ctx, b.cfg.Redis, b.key)
	if err != nil || info == nil {
		return Position{}, err
	}
	halt := func(format string, args ...any) error {
		return &HaltError{
			Shard: b.shard,
			Reason: "Kafka has no position of this shard, and " + fmt.Sprintf(format, args...) +
				"; where to begin cannot be known: run sluice resume --from-start or --after, or start the " +
				"relay with init to begin at the first retained entry",
		}
	}
	pos := Position{Missing: uint64(max(0, info.EntriesAdded-info.Length))}
	if b.cfg.Init {
		b.log.Warn("no position, beginning at the first retained entry as told",
			"gone_before", pos.Missing)
		return pos, nil
	}
	if info.EntriesAdded != info.Length ||
		info.MaxDeletedEntryID != "0-0" && info.MaxDeletedEntryID != "" {
		return pos, halt("its stream has %d entries of %d ever added", info.Length, info.EntriesAdded)
	}
	group, err := b.group.info(ctx)
	if err != nil {
		return pos, err
	}
	if group == nil {
		return pos, nil
	}
	delivered, err := outbox.ParseEntryID(group.LastDeliveredID)
	if err == nil && !delivered.IsZero() {
		err = halt("the stream's consumer group says that entries up to %s were delivered (was the "+
			"positions topic deleted?)", delivered)
	}
	return pos, err
}

// ofGroup is where at-least-once delivery left the consumer group: before its first pending entry,
// or at its last delivered one if none is pending.
func (b *beginning) ofGroup(ctx context.Context) (Position, error) {
	group, err := b.group.info(ctx)
	if err != nil {
		return Position{}, err
	}
	if group == nil {
		return Position{},
			&HaltError{Reason: fmt.Sprintf(
				"at-least-once delivery keeps the position in consumer group %s of %s, and the group is "+
					"gone; run sluice resume --after the last entry that is in Kafka", names.ConsumerGroup, b.key)}
	}
	after, err := outbox.ParseEntryID(group.LastDeliveredID)
	if err != nil {
		return Position{}, err
	}
	reader := newStreamReader(b.cfg.Redis, b.shard, b.key)
	count := group.EntriesRead // 0 also when Redis does not know
	if group.Pending > 0 {
		pending, err := b.cfg.Redis.XPendingExt(ctx,
			&redis.XPendingExtArgs{
				Stream: b.key, Group: names.ConsumerGroup, Start: "-", End: "+",
				Count: 1,
			}).Result()
		if err != nil {
			return Position{}, fmt.Errorf("redis: XPENDING %s: %w", b.key, err)
		}
		if len(pending) > 0 {
			first, err := outbox.ParseEntryID(pending[0].ID)
			if err != nil {
				return Position{}, err
			}
			if count > 0 {
				open, err := reader.countAfter(ctx, first.Prev(), after)
				if err != nil {
					return Position{}, err
				}
				count = max(0, count-open)
			}
			after = first.Prev()
			b.log.Warn("at-least-once delivery left entries unconfirmed, they are sent again",
				"first", first.String(), "entries", group.Pending)
		}
	}
	return positionAfter(ctx, reader, after, count)
}

// PositionAfter makes the position from which exactly the entries above after are delivered. If an
// entry with that very ID is in the stream it becomes the anchor. It reads through all entries
// above after to count them.
func PositionAfter(ctx context.Context, client redis.UniversalClient, outboxName string, shard int,
	after outbox.EntryID,
) (Position, error) {
	return positionAfter(ctx, newStreamReader(client, shard, outbox.StreamKey(outboxName, shard)),
		after, 0)
}

// positionAfter is PositionAfter with the count of entries at or below after, where that is known;
// 0: it is not.
func positionAfter(ctx context.Context, r *streamReader, after outbox.EntryID,
	count int64,
) (Position, error) {
	pos := Position{Entry: after, Count: uint64(max(0, count)), At: time.Now()}
	info, err := streamInfo(ctx, r.client, r.key)
	if err != nil || info == nil {
		return pos, err
	}
	if !after.IsZero() {
		anchor, err := r.first(ctx, after)
		if err != nil {
			return pos, err
		}
		if anchor != nil && anchor.id == after {
			pos.Fingerprint = formatFingerprint(fingerprint(anchor.fields))
		}
	}
	if count > 0 {
		return pos, nil
	}
	last, err := outbox.ParseEntryID(info.LastGeneratedID)
	if err != nil {
		return pos, err
	}
	// Entries that are added meanwhile are not in the counter of info.
	remaining, err := r.countAfter(ctx, after, last)
	pos.Count = uint64(max(0, info.EntriesAdded-remaining))
	return pos, err
}

// countAfter counts the entries above after, up to last.
func (r *streamReader) countAfter(ctx context.Context, after,
	last outbox.EntryID,
) (n int64, err error) {
	for atEnd := false; !atEnd && after.Compare(last) < 0; {
		var entries []rawEntry
		if entries, atEnd, err = r.read(ctx, anchor{id: after}); err != nil {
			return n, err
		}
		for _, e := range entries {
			if after = e.id; after.Compare(last) > 0 {
				return n, nil
			}
			n++
		}
	}
	return n, nil
}

// streamInfo is XINFO STREAM; nil if there is no such key.
func streamInfo(ctx context.Context, client redis.UniversalClient,
	key string,
) (*redis.XInfoStream, error) {
	info, err := client.XInfoStream(ctx, key).Result()
	switch {
	case err == nil:
		return info, nil
	case hasPrefix(err, "ERR no such key"):
		return nil, nil
	case isWrongType(err):
		return nil, notAStream(key)
	}
	return nil, fmt.Errorf("redis: XINFO STREAM %s: %w", key, err)
}
