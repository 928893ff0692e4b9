package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// consume reads what has become visible into the ledger until ctx ends, as any application would.
func consume(ctx context.Context, w *world, l *ledger) error {
	client, err := kgo.NewClient(
		w.brokers,
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxWait(100*time.Millisecond),
	)
	if err != nil {
		return fmt.Errorf("consumer: %w", err)
	}
	defer client.Close()
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("consumer: %w", err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			var p payload
			if json.Unmarshal(r.Value, &p) != nil || string(r.Key) != orderKey(p.Order) {
				p.Order = -1 // unknown
			}
			l.deliver(event{p.Order, p.Step})
		})
	}
}
