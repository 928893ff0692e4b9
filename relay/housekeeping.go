package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// follower is what the deliveries do differently after a commit.
type follower interface {
	// mirror makes the consumer group show the position; group is what it shows now, nil if that is not known.
	mirror(ctx context.Context, pos Position, group *redis.XInfoGroup) error
	// confirmed is the last entry up to which everything is in Kafka.
	confirmed(ctx context.Context, pos Position) (EntryID, error)
}

// housekeep does what follows a commit, on its own pace: mirror, trim, and the figures that operators look at. All of
// it may fail or be lost without harm (invariant 3); what fails is tried again at the next tick.
func (s *shard) housekeep(ctx context.Context, f follower) {
	tick := time.NewTicker(s.cfg.HousekeepingInterval)
	defer tick.Stop()
	failing := false
	for {
		err := s.follow(ctx, f)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			s.log.Warn("housekeeping fails, trying again; delivery goes on", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *shard) follow(ctx context.Context, f follower) error {
	pos := s.position()
	group, err := s.group(ctx)
	if err != nil {
		return err
	}
	if err := f.mirror(ctx, pos, group); err != nil {
		return err
	}
	confirmed, err := f.confirmed(ctx, pos)
	if err != nil {
		return err
	}
	// A limit that cannot be told, or a user who may not trim, does not keep the lag from being measured.
	return errors.Join(s.trim(ctx, confirmed), s.measure(ctx))
}

// mirror follows exactly-once delivery: it shows the committed position in the stream's consumer group, for XINFO GROUPS and
// every tool that reads it. It looks at the group each time, because an ex-owner that was paused may have set it back, and
// because a group that was destroyed is made again at the position.
type mirror struct{ shard *shard }

func (m *mirror) mirror(ctx context.Context, pos Position, group *redis.XInfoGroup) error {
	s := m.shard
	count := int64(pos.Count + pos.Missing)
	if group != nil && group.LastDeliveredID == pos.Entry.String() && group.EntriesRead == count {
		return nil
	}
	if group != nil && group.Pending > 0 { // left over from at-least-once delivery; all of it is delivered
		if err := s.acknowledge(ctx, pos.Entry); err != nil {
			return err
		}
	}
	err := s.mirrorGroup(ctx, pos.Entry, count)
	switch {
	case err == nil, isUnknownCommand(err):
		return nil
	case hasPrefix(err, "NOGROUP"):
		return s.ensureGroup(ctx, pos.Entry, count)
	case hasPrefix(err, "ERR The XGROUP subcommand requires the key to exist"):
		return nil // the reader halts for it
	}
	return fmt.Errorf("redis: XGROUP SETID %s: %w", s.key, err)
}

func (m *mirror) confirmed(_ context.Context, pos Position) (EntryID, error) { return pos.Entry, nil }

// trimRounds bounds what one tick may trim, trimLimit what one command may: Redis does nothing else meanwhile.
const (
	trimRounds = 100
	trimLimit  = 10_000
)

// trim removes entries below the confirmed position that are older than the retention. The entry at the position
// stays: it is the anchor. Whole nodes go (MINID ~), which costs Redis next to nothing.
func (s *shard) trim(ctx context.Context, confirmed EntryID) error {
	if s.cfg.Trim.Keep < 0 {
		return nil
	}
	minID := EntryID{MS: uint64(max(0, time.Now().Add(-s.cfg.Trim.Keep).UnixMilli()))}
	if confirmed.Compare(minID) < 0 {
		minID = confirmed
	}
	due := minID
	minID, err := s.limited(ctx, due)
	if err = errors.Join(err, s.held(ctx, minID, due)); err != nil || minID.IsZero() {
		return err
	}
	for range trimRounds {
		n, err := s.cfg.Redis.XTrimMinIDApprox(ctx, s.key, minID.String(), trimLimit).Result()
		if isUnknownCommand(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("redis: XTRIM %s: %w", s.key, err)
		}
		if n > 0 && s.cfg.Observer.Trimmed != nil {
			s.cfg.Observer.Trimmed(s.id, n)
		}
		if n == 0 || ctx.Err() != nil {
			return nil
		}
	}
	return nil
}

// limited is how far of what is due may go by Trim.Limit. What is not known stays.
func (s *shard) limited(ctx context.Context, due EntryID) (EntryID, error) {
	if s.cfg.Trim.Limit == nil || due.IsZero() {
		return due, nil
	}
	limit, err := s.cfg.Trim.Limit(ctx, s.id)
	switch {
	case err != nil:
		return EntryID{}, fmt.Errorf("nothing is trimmed: %w", err)
	case limit.Compare(due) < 0:
		return limit, nil
	}
	return due, nil
}

// held notes how long what Trim.Limit holds back has been due: the age, beyond the retention, of the first such entry.
func (s *shard) held(ctx context.Context, limit, due EntryID) error {
	held := time.Duration(0)
	defer func() {
		s.mu.Lock()
		s.status.TrimHeld = held
		s.mu.Unlock()
	}()
	if limit.Compare(due) >= 0 {
		return nil
	}
	first, err := s.cfg.Redis.XRangeN(ctx, s.key, "("+limit.String(), "("+due.String(), 1).Result()
	if err != nil {
		held = -1
		return fmt.Errorf("redis: XRANGE %s: %w", s.key, err)
	}
	if len(first) > 0 {
		id, err := ParseEntryID(first[0].ID)
		if err != nil {
			return err
		}
		held = max(time.Millisecond, time.Since(time.UnixMilli(int64(min(id.MS, 1<<62))))-s.cfg.Trim.Keep) // it is due: 0 would say that none is
	}
	return nil
}

// measure finds lag and the oldest undelivered entry, and notices entries that were gone before they could be
// delivered. It needs Redis alone: what waits is seen while Kafka is away.
func (s *shard) measure(ctx context.Context) error {
	pos, known := s.known()
	info, err := streamInfo(ctx, s.cfg.Redis, s.key)
	if err != nil {
		return err
	}
	if !known { // no session has read it: the mirror is close
		group, err := s.group(ctx)
		if err != nil || group == nil {
			return err
		}
		if pos.Entry, err = ParseEntryID(group.LastDeliveredID); err != nil {
			return err
		}
		pos.Count = uint64(max(0, group.EntriesRead))
	}
	lag, oldest := int64(-1), time.Duration(-1)
	if info != nil {
		next, err := s.cfg.Redis.XRangeN(ctx, s.key, "("+pos.Entry.String(), "+", 1).Result()
		if err != nil {
			return fmt.Errorf("redis: XRANGE %s: %w", s.key, err)
		}
		lag, oldest = s.lag(pos, info, next)
	}
	s.mu.Lock()
	s.status.Lag, s.status.OldestUndelivered = lag, oldest
	s.mu.Unlock()
	return nil
}

// idle waits, and keeps measuring meanwhile.
func (s *shard) idle(ctx context.Context, d time.Duration) {
	for end := time.Now().Add(d); ctx.Err() == nil; {
		bounded, cancel := context.WithTimeout(ctx, s.cfg.HousekeepingInterval+time.Second)
		_ = s.measure(bounded) // what fails here is what the shard waits for
		cancel()
		left := time.Until(end)
		if left <= 0 {
			return
		}
		sleep(ctx, min(left, s.cfg.HousekeepingInterval))
	}
}

func (s *shard) lag(pos Position, info *redis.XInfoStream, next []redis.XMessage) (lag int64, oldest time.Duration) {
	if len(next) > 0 {
		oldest = -1
		if id, err := ParseEntryID(next[0].ID); err == nil {
			oldest = max(0, time.Since(time.UnixMilli(int64(min(id.MS, 1<<62)))))
		}
	}
	if info.EntriesAdded == 0 {
		// No such counter (Redis before 7.0): only "nothing waits" is known.
		if len(next) == 0 {
			return 0, oldest
		}
		return -1, oldest
	}
	known := int64(pos.Count + s.missing())
	if info.LastGeneratedID == pos.Entry.String() {
		// Everything that Redis ever added is at or below the position: what was not delivered was gone before.
		if gone := info.EntriesAdded - known; gone > 0 && pos.Count > 0 && pos.Delivery == ExactlyOnce {
			s.mu.Lock()
			s.status.Missing += uint64(gone)
			total := s.status.Missing
			s.mu.Unlock()
			s.log.Error("entries were deleted or trimmed by somebody before they could be delivered", "entries", gone, "in_all", total, "entries_added", info.EntriesAdded, "delivered", pos.Count)
		}
		return 0, oldest
	}
	if len(next) == 0 {
		return 0, oldest
	}
	return max(1, info.EntriesAdded-known), oldest
}

// missing counts the entries that are known to have been gone before delivery.
func (s *shard) missing() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status.Missing
}
