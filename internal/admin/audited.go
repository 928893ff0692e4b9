package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/outbox"
)

// Audits is what a status tells of audits beside.
type Audits struct {
	Progress *consistency.Progress
	// Keep is the retention of entries that wait for audits before they are trimmed; negative:
	// trimming does not wait.
	Keep time.Duration
}

// look fills in how far audits have come, and what waits for them.
func (a *Audits) look(ctx context.Context, client redis.UniversalClient, outboxName string,
	all []facts, shards []Shard,
) error {
	ctx, cancel := context.WithTimeout(ctx, kafkaPatience)
	defer cancel()
	known, err := a.Progress.Look(ctx)
	if err != nil {
		return err
	}
	var problems []error
	for i := range shards {
		s := &shards[i]
		audited := consistency.Audited{Shard: s.Shard}
		if i < len(known) {
			audited = known[i]
		}
		switch {
		case audited.Problem != "":
			problems = append(problems,
				fmt.Errorf("shard %d: %s: what was audited of it does not count any more", s.Shard,
					audited.Problem))
		case !audited.UpTo.IsZero():
			s.Audited = audited.UpTo.String()
		}
		if s.TrimHeld, err = a.held(ctx, client, outbox.StreamKey(outboxName, s.Shard), s.Position,
			audited.Disposable(), all[i].now); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// held is how long, in seconds, the first entry that is delivered and not audited could have been
// trimmed; nil if none is held back.
func (a *Audits) held(ctx context.Context, client redis.UniversalClient, key, position string,
	audited outbox.EntryID, now time.Time,
) (*float64, error) {
	due, err := outbox.ParseEntryID(position)
	if err != nil || a.Keep < 0 {
		return nil, nil // nothing is delivered
	}
	if old := uint64(max(0, now.Add(-a.Keep).UnixMilli())); old < due.MS {
		due = outbox.EntryID{MS: old}
	}
	if audited.Compare(due) >= 0 {
		return nil, nil
	}
	first, err := client.XRangeN(ctx, key, "("+audited.String(), "("+due.String(), 1).Result()
	if err != nil || len(first) == 0 {
		return nil, err
	}
	id, err := outbox.ParseEntryID(first[0].ID)
	if err != nil {
		return nil, err
	}
	return ptr(max(0, now.Add(-a.Keep).Sub(time.UnixMilli(int64(min(id.MS, 1<<62))))).Seconds()), nil
}
