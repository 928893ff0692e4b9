package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/consistency"
)

// audit is an audit of everything in the outbox, as a user runs it but for the time to settle: all
// is delivered.
func (j job) audit(client *redis.Client) (driving, error) {
	cfg := consistency.Config{
		Outbox: j.Outbox, Redis: client, Kafka: j.kafkaOpts(), Route: j.Topic, Settle: -1, Full: true,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if j.Driver.Kind == GentleAudit {
		cfg.Effort = consistency.GentleEffort
	}
	auditor, err := consistency.New(cfg)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, done func(int, time.Duration)) error {
		for again := true; again; again = j.Again {
			began := time.Now()
			r, err := auditor.Run(ctx)
			if err != nil {
				return err
			}
			if r.Verdict != consistency.Agree || r.Entries != int64(j.Entries) {
				return fmt.Errorf("audit of %d of %d entries: %s: %v %v", r.Entries, j.Entries, r.Verdict,
					r.Incomplete, r.Findings[:min(3, len(r.Findings))])
			}
			done(j.Entries, time.Since(began))
		}
		return nil
	}, nil
}

// kafkaRead consumes every record of the topic and throws it away.
func (j job) kafkaRead(ctx context.Context, done func(int, time.Duration)) error {
	began := time.Now()
	client, err := kgo.NewClient(append(j.kafkaOpts(), kgo.ConsumeTopics(j.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))...)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	defer client.Close()
	for n := 0; n < j.Entries; {
		fetches := client.PollFetches(ctx)
		if err := errors.Join(ctx.Err(), fetches.Err()); err != nil {
			return fmt.Errorf("kafka: %w", err)
		}
		n += fetches.NumRecords()
	}
	done(j.Entries, time.Since(began))
	return nil
}
