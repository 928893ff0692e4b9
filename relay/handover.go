package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/outbox"
)

// Where a shard begins. Kafka's positions topic is asked first, always: its last record holds the position
// (exactly-once), or says that the consumer group has it (at-least-once). A change to at-least-once writes such a record
// before anything else, in a transaction on fenced ids, so that an exactly-once owner cannot go on. A change to exactly-once cannot
// fence an at-least-once owner, which has no epoch; until it learns that the shard is not its own it may double records, as
// at-least-once may.

// startPosition is where an exactly-once session begins. The producers' ids are initialised, so the record found
// is final (invariant 1).
func (s *shard) startPosition(ctx context.Context, p *producers) (Position, error) {
	pos, err := lastPosition(ctx, p.client[0], s.cfg.Outbox, s.id)
	switch {
	case errors.Is(err, errNoPosition):
		return s.firstPosition(ctx)
	case err != nil:
		return pos, err
	case pos.Delivery == AtLeastOnce:
		return s.groupPosition(ctx)
	}
	return s.reconcile(ctx, pos)
}

// reconcile applies the policy for a position that the stream does not bear out. It only looks; the reader checks the anchor
// again with every read (invariant 6).
func (s *shard) reconcile(ctx context.Context, pos Position) (Position, error) {
	fp, err := parseFingerprint(pos.Fingerprint)
	if err != nil || fp == 0 {
		return pos, err
	}
	found, err := newStreamReader(s.cfg.Redis, s.id, s.key).first(ctx, pos.Entry)
	if err != nil {
		return pos, err
	}
	var entries []rawEntry
	if found != nil {
		entries = []rawEntry{*found}
	}
	halt := checkAnchor(s.id, anchor{pos.Entry, fp}, entries)
	switch {
	case halt == nil:
		return pos, nil
	case s.cfg.OnMismatch != ContinueOnMismatch:
		return pos, halt
	case found != nil && found.id == pos.Entry:
		halt.Reason = "Redis has given the ID of the last delivered entry to another one; whether that was delivered cannot be decided by policy: compare both sides, then run sluice resume"
		return pos, halt
	}
	s.log.Error("anchor is gone, going on after it by policy: entries with IDs at or below it that were added since the roll-back are not delivered",
		"expected", halt.Expected, "found", halt.Found)
	return PositionAfter(ctx, s.cfg.Redis, s.cfg.Outbox, s.id, pos.Entry)
}

// firstPosition is for a shard that Kafka has no position of. It begins at the stream's first entry, if that is
// provably the first ever: nothing trimmed, nothing deleted, nothing delivered.
func (s *shard) firstPosition(ctx context.Context) (Position, error) {
	info, err := streamInfo(ctx, s.cfg.Redis, s.key)
	if err != nil || info == nil {
		return Position{}, err
	}
	halt := func(format string, args ...any) error {
		return &HaltError{Shard: s.id, Reason: "Kafka has no position of this shard, and " + fmt.Sprintf(format, args...) +
			"; where to begin cannot be known: run sluice resume --from-start or --after, or start the relay with init to begin at the first retained entry"}
	}
	pos := Position{Missing: uint64(max(0, info.EntriesAdded-info.Length))}
	if s.cfg.Init {
		s.log.Warn("no position, beginning at the first retained entry as told", "gone_before", pos.Missing)
		return pos, nil
	}
	if info.EntriesAdded != info.Length || info.MaxDeletedEntryID != "0-0" && info.MaxDeletedEntryID != "" {
		return pos, halt("its stream has %d entries of %d ever added", info.Length, info.EntriesAdded)
	}
	group, err := s.group(ctx)
	if err != nil {
		return pos, err
	}
	if group == nil {
		return pos, nil
	}
	delivered, err := ParseEntryID(group.LastDeliveredID)
	if err == nil && !delivered.IsZero() {
		err = halt("the stream's consumer group says that entries up to %s were delivered (was the positions topic deleted?)", delivered)
	}
	return pos, err
}

// groupPosition is where at-least-once delivery has left the consumer group: before its first pending entry, else
// at its last delivered one.
func (s *shard) groupPosition(ctx context.Context) (Position, error) {
	group, err := s.group(ctx)
	if err != nil {
		return Position{}, err
	}
	if group == nil {
		return Position{}, &HaltError{Reason: fmt.Sprintf("at-least-once delivery keeps the position in consumer group %s of %s, and the group is gone; run sluice resume --after the last entry that is in Kafka", outbox.ConsumerGroup, s.key)}
	}
	after, err := ParseEntryID(group.LastDeliveredID)
	if err != nil {
		return Position{}, err
	}
	reader := newStreamReader(s.cfg.Redis, s.id, s.key)
	count := group.EntriesRead // 0 also when Redis does not know
	if group.Pending > 0 {
		pending, err := s.cfg.Redis.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: s.key, Group: outbox.ConsumerGroup, Start: "-", End: "+", Count: 1}).Result()
		if err != nil {
			return Position{}, fmt.Errorf("redis: XPENDING %s: %w", s.key, err)
		}
		if len(pending) > 0 {
			first, err := ParseEntryID(pending[0].ID)
			if err != nil {
				return Position{}, err
			}
			if count > 0 {
				open, err := reader.countAfter(ctx, first.before(), after)
				if err != nil {
					return Position{}, err
				}
				count = max(0, count-open)
			}
			after = first.before()
			s.log.Warn("at-least-once delivery left entries unconfirmed, they are sent again", "first", first.String(), "entries", group.Pending)
		}
	}
	return positionAfter(ctx, reader, after, count)
}

// before is the greatest ID below id.
func (id EntryID) before() EntryID {
	switch {
	case id.Seq > 0:
		return EntryID{id.MS, id.Seq - 1}
	case id.MS > 0:
		return EntryID{id.MS - 1, ^uint64(0)}
	}
	return EntryID{}
}

// PositionAfter makes the position from which exactly the entries above after are delivered. If an entry with that very ID
// stands in the stream it becomes the anchor. It reads through all entries above after to count them.
func PositionAfter(ctx context.Context, client redis.UniversalClient, outboxName string, shard int, after EntryID) (Position, error) {
	return positionAfter(ctx, newStreamReader(client, shard, outbox.StreamKey(outboxName, shard)), after, 0)
}

// positionAfter is PositionAfter with the count of entries at or below after, where that is known; 0: it is not.
func positionAfter(ctx context.Context, r *streamReader, after EntryID, count int64) (Position, error) {
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
	last, err := ParseEntryID(info.LastGeneratedID)
	if err != nil {
		return pos, err
	}
	// What is added meanwhile is not in the counter that info has.
	remaining, err := r.countAfter(ctx, after, last)
	pos.Count = uint64(max(0, info.EntriesAdded-remaining))
	return pos, err
}

// countAfter counts the entries above after, up to last.
func (r *streamReader) countAfter(ctx context.Context, after, last EntryID) (n int64, err error) {
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
func streamInfo(ctx context.Context, client redis.UniversalClient, key string) (*redis.XInfoStream, error) {
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

// group is the shard's consumer group; nil if it or its stream does not exist.
func (s *shard) group(ctx context.Context) (*redis.XInfoGroup, error) {
	groups, err := s.cfg.Redis.XInfoGroups(ctx, s.key).Result()
	if isWrongType(err) {
		return nil, notAStream(s.key)
	}
	if err != nil && !hasPrefix(err, "ERR no such key") {
		return nil, fmt.Errorf("redis: XINFO GROUPS %s: %w", s.key, err)
	}
	for i := range groups {
		if groups[i].Name == outbox.ConsumerGroup {
			return &groups[i], nil
		}
	}
	return nil, nil
}

// takeGroup makes the consumer group the holder of the position, if it is not yet: the at-least-once side of the
// handover. Initialising the transactional ids ends every exactly-once owner before the group is set.
func (s *shard) takeGroup(ctx context.Context) error {
	pos, err := lastPosition(ctx, s.relay.client, s.cfg.Outbox, s.id)
	if err == nil && pos.Delivery == AtLeastOnce {
		if pos, err = s.groupPosition(ctx); err == nil {
			pos.Delivery = AtLeastOnce
			s.begin(pos)
		}
		return err
	}
	if err != nil && !errors.Is(err, errNoPosition) {
		return err
	}
	producers, err := newProducers(ctx, s.cfg, s.id, s.relay.topics.limit)
	if err != nil {
		return err
	}
	defer producers.close()
	if err := s.endHanging(ctx, producers); err != nil {
		return err
	}
	if pos, err = s.startPosition(ctx, producers); err != nil {
		return err
	}
	if err := s.setGroup(ctx, pos.Entry, int64(pos.Count+pos.Missing)); err != nil {
		return err
	}
	pos.Delivery, pos.At, pos.Relay = AtLeastOnce, time.Now(), s.cfg.Instance
	if err := producers.begin(); err != nil {
		return fmt.Errorf("kafka: begin transaction: %w", err)
	}
	if err := producers.commit(ctx, pos); err != nil {
		return err
	}
	s.begin(pos)
	return nil
}

// setGroup moves the consumer group to a position and forgets what it had pending, all of which is delivered.
func (s *shard) setGroup(ctx context.Context, at EntryID, count int64) error {
	if err := s.ensureGroup(ctx, at, count); err != nil {
		return err
	}
	if err := s.mirrorGroup(ctx, at, count); err != nil && !isUnknownCommand(err) {
		return err
	}
	return s.acknowledge(ctx, at)
}

// acknowledge forgets what the group has pending at or below an entry.
func (s *shard) acknowledge(ctx context.Context, at EntryID) error {
	for {
		pending, err := s.cfg.Redis.XPendingExt(ctx, &redis.XPendingExtArgs{Stream: s.key, Group: outbox.ConsumerGroup, Start: "-", End: at.String(), Count: 1000}).Result()
		if err != nil {
			return fmt.Errorf("redis: XPENDING %s: %w", s.key, err)
		}
		if len(pending) == 0 {
			return nil
		}
		ids := make([]string, len(pending))
		for i, p := range pending {
			ids[i] = p.ID
		}
		if err := s.cfg.Redis.XAck(ctx, s.key, outbox.ConsumerGroup, ids...).Err(); err != nil {
			return fmt.Errorf("redis: XACK %s: %w", s.key, err)
		}
	}
}

// ensureGroup creates the consumer group, at a position, if it is not there. It does not create the stream.
func (s *shard) ensureGroup(ctx context.Context, at EntryID, count int64) error {
	args := []any{"XGROUP", "CREATE", s.key, outbox.ConsumerGroup, at.String()}
	if count >= 0 {
		args = append(args, "ENTRIESREAD", count)
	}
	err := s.cfg.Redis.Do(ctx, args...).Err()
	if err != nil && isUnknownCommand(err) && count >= 0 {
		err = s.cfg.Redis.Do(ctx, args[:5]...).Err()
	}
	if err != nil && !hasPrefix(err, "BUSYGROUP") {
		return fmt.Errorf("redis: XGROUP CREATE %s: %w", s.key, err)
	}
	return nil
}

func (s *shard) mirrorGroup(ctx context.Context, at EntryID, count int64) error {
	return s.cfg.Redis.Do(ctx, "XGROUP", "SETID", s.key, outbox.ConsumerGroup, at.String(), "ENTRIESREAD", count).Err()
}
