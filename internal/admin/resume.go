package admin

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// Where says from where a shard is to go on.
type Where struct {
	// After is the last entry that is not to be sent. Zero: from the first retained entry.
	After outbox.EntryID
	// AtEnd overrides After: nothing that is in the stream now is sent.
	AtEnd bool
}

// Move is the change of a shard's position: what it was, what it would be, and what that sends and
// skips. The counts are exact for the moment of planning; entries appended since then come after
// them and are sent.
type Move struct {
	Shard int `json:"shard"`
	// From is the present position; nil: there is none, or Kafka keeps none because delivery is at
	// least once.
	From *relay.Position `json:"from"`
	// FromEntry is the last entry delivered before, wherever that is kept; empty: unknown or none.
	FromEntry string         `json:"from_entry,omitempty"`
	To        relay.Position `json:"to"`
	// Sends counts the retained entries after the new position, SendsAgain those of them at or below
	// the old one.
	Sends      int64 `json:"sends"`
	SendsAgain int64 `json:"sends_again"`
	// Skips counts the retained entries between the old and the new position: they will never be sent.
	Skips int64 `json:"skips"`
	// FirstSent is the first entry that will be sent; empty: none is there yet.
	FirstSent string `json:"first_sent,omitempty"`
}

// PlanMove says what a new position would do. It changes nothing.
func PlanMove(ctx context.Context, s Servers, outboxName string, sh Shard,
	where Where,
) (Move, error) {
	m := Move{Shard: sh.Shard, FromEntry: sh.Position}
	key := outbox.StreamKey(outboxName, sh.Shard)
	info, err := s.Redis.XInfoStream(ctx, key).Result()
	if err != nil {
		if reason := explainNoStream(err); reason != "" {
			return m, fmt.Errorf("%s: %s; run sluice migrate apply first", key, reason)
		}
		return m, fmt.Errorf("redis: XINFO STREAM %s: %w", key, err)
	}
	end, err := outbox.ParseEntryID(info.LastGeneratedID)
	if err != nil {
		return m, err
	}
	to := where.After
	if where.AtEnd {
		to = end
	}
	if to.Compare(end) > 0 {
		return m, fmt.Errorf(
			"%s: entry %s is beyond the last one that Redis gave out, %s: what is appended up to it "+
				"would be skipped", key, to, end)
	}
	positions, err := s.positions(ctx, outboxName, sh.Shard+1)
	if err != nil {
		return m, err
	}
	if p, ok := positions[sh.Shard]; ok && p.Delivery == relay.DeliveryExactlyOnce {
		m.From = &p
	}
	if m.To, err = relay.PositionAfter(ctx, s.Redis, outboxName, sh.Shard, to); err != nil {
		return m, err
	}
	if m.Sends, m.FirstSent, err = count(ctx, s.Redis, key, to, end); err != nil {
		return m, err
	}
	if err := refuseReader(ctx, s.Redis, key, sh.Shard); err != nil {
		return m, err
	}
	if m.FromEntry == "" {
		return m, nil
	}
	from, err := outbox.ParseEntryID(m.FromEntry)
	if err != nil {
		return m, err
	}
	switch to.Compare(from) {
	case -1:
		// The stream may have been rolled back below the old position: then nothing of it is there to be
		// sent again.
		m.SendsAgain, _, err = count(ctx, s.Redis, key, to, minID(from, end))
	case 1:
		m.Skips, _, err = count(ctx, s.Redis, key, from, to)
	}
	return m, err
}

// ApplyMove writes the new position. The shard's owner is fenced and starts over from it.
func ApplyMove(ctx context.Context, s Servers, outboxName string, m Move, by string) error {
	if err := refuseReader(ctx, s.Redis, outbox.StreamKey(outboxName, m.Shard), m.Shard); err != nil {
		return err
	}
	p := m.To
	p.Delivery, p.At, p.Relay = relay.DeliveryExactlyOnce, time.Now(), by
	if err := relay.SetPosition(ctx, s.Kafka, outboxName, m.Shard, p); err != nil {
		return fmt.Errorf(
			"position of shard %d was not set, or it is not known: %w; look with sluice status before "+
				"trying again", m.Shard, err)
	}
	return nil
}

// readerIdle is the longest that a living reader of a consumer group is silent. Its reads block for
// a fraction of a second; what it has read must be confirmed before it reads much more.
const readerIdle = 5 * time.Second

// refuseReader fails while somebody reads through the consumer group. At-least-once delivery looks
// for a position in Kafka only when it begins, so that it would go on and the new position would be
// taken later, unasked. The status in Redis may be stale or gone; the group is written by the reads
// themselves.
func refuseReader(ctx context.Context, client redis.UniversalClient, key string, shard int) error {
	consumers, err := client.XInfoConsumers(ctx, key, names.ConsumerGroup).Result()
	if redis.HasErrorPrefix(err, "NOGROUP") {
		return nil // nobody can read through it
	}
	if err != nil {
		return fmt.Errorf("redis: XINFO CONSUMERS %s: %w", key, err)
	}
	for _, c := range consumers {
		if c.Idle < readerIdle {
			return fmt.Errorf(
				"shard %d is read by %s through the consumer group (at-least-once delivery), last %s ago, "+
					"and setting a position does not interrupt that: "+
					"run sluice pause --shard %d, and try again after %s",
				shard, c.Name, c.Idle, shard, readerIdle)
		}
	}
	return nil
}

func minID(a, b outbox.EntryID) outbox.EntryID {
	if a.Compare(b) < 0 {
		return a
	}
	return b
}

// countChunk bounds one reply: payloads travel with it.
const countChunk = 500

// count counts the entries in (after, last].
func count(ctx context.Context, client redis.UniversalClient, key string, after,
	last outbox.EntryID,
) (n int64, first string, err error) {
	for start := after.String(); after.Compare(last) < 0; {
		entries, err := client.XRangeN(ctx, key, "("+start, last.String(), countChunk).Result()
		if err != nil {
			return n, first, fmt.Errorf("redis: XRANGE %s: %w", key, err)
		}
		if first == "" && len(entries) > 0 {
			first = entries[0].ID
		}
		n += int64(len(entries))
		if len(entries) < countChunk {
			break
		}
		start = entries[len(entries)-1].ID
	}
	return n, first, nil
}
