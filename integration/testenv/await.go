package testenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// AwaitCommitted waits until the committed position of every shard is the last entry of its stream,
// and counts as many entries as Redis says were ever added to it.
func (w *Env) AwaitCommitted(limit time.Duration) {
	w.t.Helper()
	w.Await(limit, func(ctx context.Context) error { return w.Committed(ctx, w.KafkaDirect()) })
}

// Committed is what AwaitCommitted waits for, asked once of the given brokers. The error says what
// is missing.
func (w *Env) Committed(ctx context.Context, kafka []kgo.Opt) error {
	positions, err := relay.ReadPositions(ctx, kafka, w.Outbox, w.Shards)
	if err != nil {
		return err
	}
	for shard := range w.Shards {
		info, err := w.Redis.XInfoStream(ctx, w.Stream(shard)).Result()
		if err != nil {
			return err
		}
		p := positions[shard]
		if info.EntriesAdded == 0 {
			continue
		}
		if p.Entry.String() != info.LastGeneratedID || int64(p.Count+p.Missing) != info.EntriesAdded {
			return fmt.Errorf(
				"shard %d: the committed position is %s after %d entries (%d missing), the last entry is %s "+
					"after %d; %s",
				shard, p.Entry, p.Count, p.Missing, info.LastGeneratedID, info.EntriesAdded, w.describe(ctx,
					shard))
		}
	}
	return nil
}

// AwaitAcknowledged is AwaitCommitted for at-least-once delivery: the consumer group of every shard
// has delivered the last entry, and nothing is pending.
func (w *Env) AwaitAcknowledged(limit time.Duration) {
	w.t.Helper()
	w.Await(limit, func(ctx context.Context) error {
		for shard := range w.Shards {
			info, err := w.Redis.XInfoStream(ctx, w.Stream(shard)).Result()
			if err != nil {
				return err
			}
			g, err := w.Group(ctx, shard)
			if err != nil {
				return err
			}
			if g.LastDeliveredID != info.LastGeneratedID || g.Pending != 0 {
				return fmt.Errorf("shard %d: the group is at %s with %d pending, the last entry is %s; %s",
					shard, g.LastDeliveredID, g.Pending, info.LastGeneratedID, w.describe(ctx, shard))
			}
		}
		return nil
	})
}

// AwaitPassed waits until every shard, or each of those named, has delivered what is in its
// stream at the call, by whichever delivery.
func (w *Env) AwaitPassed(limit time.Duration, shards ...int) {
	w.t.Helper()
	if len(shards) == 0 {
		for shard := range w.Shards {
			shards = append(shards, shard)
		}
	}
	var last []outbox.EntryID // of shards
	w.Await(limit, func(ctx context.Context) error {
		for _, shard := range shards[len(last):] {
			info, err := w.Redis.XInfoStream(ctx, w.Stream(shard)).Result()
			if err != nil {
				return err
			}
			id, err := outbox.ParseEntryID(info.LastGeneratedID)
			if err != nil {
				return err
			}
			last = append(last, id)
		}
		positions, err := relay.ReadPositions(ctx, w.KafkaDirect(), w.Outbox, w.Shards)
		if err != nil {
			return err
		}
		for n, shard := range shards {
			at := positions[shard].Entry
			if positions[shard].Delivery == relay.DeliveryAtLeastOnce {
				g, err := w.Group(ctx, shard)
				if err != nil {
					return err
				}
				if at, err = outbox.ParseEntryID(g.LastDeliveredID); err != nil {
					return err
				}
				if g.Pending > 0 { // read, but not confirmed
					return fmt.Errorf("shard %d: %d entries are pending; %s", shard, g.Pending,
						w.describe(ctx, shard))
				}
			}
			if at.Compare(last[n]) < 0 {
				return fmt.Errorf("shard %d: delivered up to %s, not yet to %s; %s", shard, at, last[n],
					w.describe(ctx, shard))
			}
		}
		return nil
	})
}

// Group is the consumer group of a shard's stream.
func (w *Env) Group(ctx context.Context, shard int) (redis.XInfoGroup, error) {
	groups, err := w.Redis.XInfoGroups(ctx, w.Stream(shard)).Result()
	if err != nil {
		return redis.XInfoGroup{}, err
	}
	for _, g := range groups {
		if g.Name == names.ConsumerGroup {
			return g, nil
		}
	}
	return redis.XInfoGroup{}, errors.New("there is no consumer group")
}

// Status is what a shard's owner has told about it in the status hash.
type Status struct {
	State    relay.State `json:"state"`
	Instance string      `json:"instance"`
	Reason   string      `json:"reason"`
	Entry    string      `json:"entry"`
	Expected string      `json:"expected"`
	Found    string      `json:"found"`
	SinceMS  int64       `json:"since"` // when the state began
	AtMS     int64       `json:"at"`    // when it was told last
}

// Status reads the status hash; it is empty for a shard that nobody has told about.
func (w *Env) Status(ctx context.Context, shard int) (Status, error) {
	var st Status
	text, err := w.Redis.HGet(ctx, names.StatusKey(w.Outbox), strconv.Itoa(shard)).Result()
	if errors.Is(err, redis.Nil) {
		return st, nil
	}
	if err != nil {
		return st, err
	}
	return st, json.Unmarshal([]byte(text), &st)
}

// AwaitState waits until a shard's owner has told that it is in a state.
func (w *Env) AwaitState(shard int, state relay.State, limit time.Duration) (st Status) {
	w.t.Helper()
	w.Await(limit, func(ctx context.Context) (err error) {
		if st, err = w.Status(ctx, shard); err == nil && st.State != state {
			err = fmt.Errorf("shard %d is not %s; %s", shard, state, w.describe(ctx, shard))
		}
		return err
	})
	return st
}

func (w *Env) describe(ctx context.Context, shard int) string {
	st, err := w.Status(ctx, shard)
	if err != nil {
		return err.Error()
	}
	return st.String()
}
