package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/retry"
	"github.com/sluice-outbox/sluice/outbox"
)

// commitSink is what the deliveries do differently after a commit.
type commitSink interface {
	// mirror makes the consumer group show the position; group is what it shows now, nil if that is
	// not known.
	mirror(ctx context.Context, pos Position, group *redis.XInfoGroup) error
	// confirmed is the last entry up to which everything is in Kafka.
	confirmed(ctx context.Context, pos Position) (outbox.EntryID, error)
}

// housekeeper does what follows a commit, at its own pace: it mirrors, trims, and measures lag. All
// of it may fail or be lost without harm (invariant 3). What fails is tried again at the next tick.
type housekeeper struct {
	cfg     *Config
	shard   int
	key     string
	log     *slog.Logger
	group   consumerGroup
	tracker *tracker
	moved   chan struct{} // holds one token after a commit
}

// quietest is the most intervals between two ticks of a shard that does not move.
const quietest = 10

// run ends with ctx. The ticks of a shard that does not move become rarer.
func (h *housekeeper) run(ctx context.Context, sink commitSink) {
	failing, quiet := false, 1
	for {
		before := h.tracker.Status()
		err := h.follow(ctx, sink)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			h.log.Warn("housekeeping fails, trying again; delivery goes on", "error", err)
		}
		failing = err != nil
		if after := h.tracker.Status(); !failing && after.Lag == 0 && after == before {
			quiet = min(2*quiet, quietest)
		} else {
			quiet = 1
		}
		_ = retry.Sleep(ctx, h.cfg.HousekeepingInterval)
		if quiet > 1 {
			select {
			case <-h.moved:
			default:
				select {
				case <-ctx.Done():
				case <-h.moved:
				case <-time.After(time.Duration(quiet-1) * h.cfg.HousekeepingInterval):
				}
			}
		}
	}
}

// notice makes the next tick come soon.
func (h *housekeeper) notice() {
	select {
	case h.moved <- struct{}{}:
	default:
	}
}

func (h *housekeeper) follow(ctx context.Context, sink commitSink) error {
	pos := h.tracker.position()
	group, err := h.group.info(ctx)
	if err != nil {
		return err
	}
	if err := sink.mirror(ctx, pos, group); err != nil {
		return err
	}
	confirmed, err := sink.confirmed(ctx, pos)
	if err != nil {
		return err
	}
	// The lag is measured even if the limit is unknown or the user may not trim.
	return errors.Join(h.trim(ctx, pos, confirmed), h.measure(ctx))
}

// mirror follows exactly-once delivery: it shows the committed position in the stream's consumer
// group, for XINFO GROUPS and every tool that reads it.
type mirror struct{ group consumerGroup }

func (m mirror) mirror(ctx context.Context, pos Position, group *redis.XInfoGroup) error {
	return m.group.mirror(ctx, pos.Entry, int64(pos.Count+pos.Missing), group)
}

func (m mirror) confirmed(_ context.Context, pos Position) (outbox.EntryID, error) {
	return pos.Entry, nil
}

// trimRounds bounds the commands of one tick, trimLimit the entries of one command: Redis does
// nothing else meanwhile.
const (
	trimRounds = 100
	trimLimit  = 10_000
)

// trim removes entries below the confirmed position that are older than the retention. The entry at
// the position stays: it is the anchor. Only whole nodes go (MINID ~), which costs Redis next to
// nothing.
//
// It first looks whether the anchor holds: the ID of an entry says nothing of a stream that was
// rolled back, whose new entries may have IDs below the position and were never delivered.
func (h *housekeeper) trim(ctx context.Context, pos Position, confirmed outbox.EntryID) error {
	if h.cfg.Trim.Keep < 0 {
		return nil
	}
	minID := outbox.EntryID{MS: uint64(max(0, time.Now().Add(-h.cfg.Trim.Keep).UnixMilli()))}
	if confirmed.Compare(minID) < 0 {
		minID = confirmed
	}
	due := minID
	minID, err := h.limited(ctx, due)
	if err = errors.Join(err, h.held(ctx, minID, due)); err != nil || minID.IsZero() {
		return err
	}
	if holds, err := h.anchorHolds(ctx, pos); err != nil || !holds {
		return err
	}
	for range trimRounds {
		n, err := h.cfg.Redis.XTrimMinIDApprox(ctx, h.key, minID.String(), trimLimit).Result()
		if isUnknownCommand(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("redis: XTRIM %s: %w", h.key, err)
		}
		if n > 0 && h.cfg.Observer.Trimmed != nil {
			h.cfg.Observer.Trimmed(h.shard, n)
		}
		if n == 0 || ctx.Err() != nil {
			return nil
		}
	}
	return nil
}

// anchorHolds reports whether the entry at the position is the one that was delivered. If it is
// not, the reader halts for it, and nothing is trimmed.
func (h *housekeeper) anchorHolds(ctx context.Context, pos Position) (bool, error) {
	expected, err := parseFingerprint(pos.Fingerprint)
	if err != nil || expected == 0 {
		return err == nil, err // there is no anchor, by an operator's word or policy
	}
	found, err := newStreamReader(h.cfg.Redis, h.shard, h.key).first(ctx, pos.Entry)
	if err != nil {
		return false, err
	}
	return found != nil && found.id == pos.Entry && fingerprint(found.fields) == expected, nil
}

// limited is how far of what is due may go by Trim.Limit. What is not known stays.
func (h *housekeeper) limited(ctx context.Context, due outbox.EntryID) (outbox.EntryID, error) {
	if h.cfg.Trim.Limit == nil || due.IsZero() {
		return due, nil
	}
	limit, err := h.cfg.Trim.Limit(ctx, h.shard)
	switch {
	case err != nil:
		return outbox.EntryID{}, fmt.Errorf("nothing is trimmed: %w", err)
	case limit.Compare(due) < 0:
		return limit, nil
	}
	return due, nil
}

// held notes how long what Trim.Limit holds back has been due: the age, beyond the retention, of
// the first such entry.
func (h *housekeeper) held(ctx context.Context, limit, due outbox.EntryID) error {
	held := time.Duration(0)
	defer func() { h.tracker.trimHeld(held) }()
	if limit.Compare(due) >= 0 {
		return nil
	}
	first, err := h.cfg.Redis.XRangeN(ctx, h.key, "("+limit.String(), "("+due.String(), 1).Result()
	if err != nil {
		held = -1
		return fmt.Errorf("redis: XRANGE %s: %w", h.key, err)
	}
	if len(first) > 0 {
		id, err := outbox.ParseEntryID(first[0].ID)
		if err != nil {
			return err
		}
		// it is due: 0 would say that none is
		held = max(time.Millisecond, time.Since(time.UnixMilli(int64(min(id.MS, 1<<62))))-h.cfg.Trim.Keep)
	}
	return nil
}

// measure finds the lag and the oldest undelivered entry, and notices entries that were gone before
// they could be delivered. It needs only Redis: lag is seen while Kafka is away.
func (h *housekeeper) measure(ctx context.Context) error {
	pos, known := h.tracker.known()
	info, err := streamInfo(ctx, h.cfg.Redis, h.key)
	if err != nil {
		return err
	}
	if !known { // no session has read it: the mirror is near
		group, err := h.group.info(ctx)
		if err != nil || group == nil {
			return err
		}
		if pos.Entry, err = outbox.ParseEntryID(group.LastDeliveredID); err != nil {
			return err
		}
		pos.Count = uint64(max(0, group.EntriesRead))
	}
	lag, oldest := int64(-1), time.Duration(-1)
	if info != nil {
		next, err := h.cfg.Redis.XRangeN(ctx, h.key, "("+pos.Entry.String(), "+", 1).Result()
		if err != nil {
			return fmt.Errorf("redis: XRANGE %s: %w", h.key, err)
		}
		lag, oldest = h.lag(pos, info, next)
	}
	h.tracker.measured(lag, oldest)
	return nil
}

// idle waits, and keeps measuring meanwhile.
func (h *housekeeper) idle(ctx context.Context, d time.Duration) {
	for end := time.Now().Add(d); ctx.Err() == nil; {
		bounded, cancel := context.WithTimeout(ctx, h.cfg.HousekeepingInterval+time.Second)
		_ = h.measure(bounded) // it fails for the same reason as the shard
		cancel()
		left := time.Until(end)
		if left <= 0 {
			return
		}
		_ = retry.Sleep(ctx, min(left, h.cfg.HousekeepingInterval))
	}
}

func (h *housekeeper) lag(pos Position, info *redis.XInfoStream,
	next []redis.XMessage,
) (lag int64, oldest time.Duration) {
	if len(next) > 0 {
		oldest = -1
		if id, err := outbox.ParseEntryID(next[0].ID); err == nil {
			oldest = max(0, time.Since(time.UnixMilli(int64(min(id.MS, 1<<62)))))
		}
	}
	if info.EntriesAdded == 0 {
		// The server has no such counter (Redis before 7.0): only "nothing waits" is known.
		if len(next) == 0 {
			return 0, oldest
		}
		return -1, oldest
	}
	known := int64(pos.Count + h.tracker.missing())
	if info.LastGeneratedID == pos.Entry.String() {
		// Everything that Redis ever added is at or below the position. What was not delivered was gone
		// before.
		if gone := info.EntriesAdded - known; gone > 0 && pos.Count > 0 &&
			pos.Delivery == DeliveryExactlyOnce {
			total := h.tracker.lost(gone)
			h.log.Error("entries were deleted or trimmed by somebody before they could be delivered",
				"entries", gone, "in_all", total, "entries_added", info.EntriesAdded, "delivered", pos.Count)
		}
		return 0, oldest
	}
	if len(next) == 0 {
		return 0, oldest
	}
	return max(1, info.EntriesAdded-known), oldest
}
