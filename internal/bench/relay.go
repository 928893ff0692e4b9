package bench

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// observed is a relay that can be asked what it has done.
type observed struct {
	relay        *relay.Relay
	delivery     relay.Delivery
	ask          []int
	transactions atomic.Int64
	dead         atomic.Int64
}

// relay is Sluice as a user runs it, with the defaults of everything but what the job says and two:
// the backlog of a bench may be older than the usual retention and is needed again, so nothing is
// trimmed; and only warnings are logged.
func (j job) relay(client *redis.Client) (*observed, error) {
	delivery, err := relay.ParseDelivery(string(j.Driver.Kind))
	if err != nil {
		return nil, err
	}
	o := &observed{delivery: delivery, ask: j.Ask}
	o.relay, err = relay.New(relay.Config{
		Outbox: j.Outbox, Redis: client, Kafka: j.kafkaOpts(),
		Delivery: delivery,
		Route:    j.Topic,
		Trim:     relay.Trim{Keep: -1},
		Lanes:    j.Lanes,
		Linger:   j.Linger,
		Logger:   slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		// Not all of what the metrics of sluice relay ask for: that has a cost an entry, which what it is
		// compared with does not have.
		Observer: &relay.Observer{
			Transaction:  func(relay.Transaction) { o.transactions.Add(1) },
			DeadLettered: func(int, outbox.EntryID, relay.Reason) { o.dead.Add(1) },
		},
	})
	return o, err
}

func (o *observed) run(ctx context.Context, _ func(int, time.Duration)) error {
	return o.relay.Run(ctx)
}

// tell adds to an answer what the relay has done so far, and in which states shards are.
func (o *observed) tell(a *answer) {
	if o.delivery == relay.DeliveryExactlyOnce {
		n := o.transactions.Load()
		a.Transactions = &n
	}
	a.DeadLetters = o.dead.Load()
	if len(o.ask) == 0 {
		return
	}
	for _, st := range o.relay.Status() {
		if slices.Contains(o.ask, st.Shard) {
			a.Shards = append(a.Shards, st)
		}
	}
}
