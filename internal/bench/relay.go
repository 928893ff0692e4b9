package bench

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/relay"
)

// relay is Sluice as a user runs it, with the defaults of everything but two: the backlog of a bench may be older than the
// usual retention and is needed again, so nothing is trimmed; and only warnings are logged.
func (j job) relay(client *redis.Client) (carrying, error) {
	delivery, err := relay.ParseDelivery(string(j.Carrier.Kind))
	if err != nil {
		return nil, err
	}
	r, err := relay.New(relay.Config{
		Outbox: j.Outbox, Redis: client, Kafka: j.kafkaOpts(),
		Delivery: delivery,
		Route:    j.Topic,
		Trim:     relay.Trim{Keep: -1},
		Logger:   slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, _ func(int, time.Duration)) error { return r.Run(ctx) }, nil
}
