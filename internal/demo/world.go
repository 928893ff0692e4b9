package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/migrations"
)

const (
	outboxName = "shop"
	// where the default route sends events of the aggregate type "order"
	topic = "outbox.event.order"
)

// world is both servers, with the outbox laid out on them.
type world struct {
	miniredis *miniredis.Miniredis
	counters  *counters
	kfake     *kfake.Cluster
	redis     *redis.Client // the shop's
	kafka     *kgo.Client   // for what is set up
	brokers   kgo.Opt
}

func newWorld(ctx context.Context, shards int) (_ *world, err error) {
	w := &world{miniredis: miniredis.NewMiniRedis()}
	if err := w.miniredis.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("in-memory Redis: %w", err)
	}
	w.counters = countEntries(w.miniredis)
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.kfake, err = newFakeKafka(); err != nil {
		return nil, err
	}
	w.brokers = kgo.SeedBrokers(w.kfake.ListenAddrs()...)
	w.redis = redis.NewClient(&redis.Options{Addr: w.miniredis.Addr()})
	if w.kafka, err = kgo.NewClient(w.brokers); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return w, w.layOut(ctx, shards)
}

// layOut does what "sluice migrate apply" does. The topic of the events would be created by the
// relay; the consumer is there before.
func (w *world) layOut(ctx context.Context, shards int) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	m, err := migrations.New(w.redis, w.kafka, migrations.Config{Outbox: outboxName, Shards: shards})
	if err != nil {
		return err
	}
	plan, err := m.Plan(ctx, 0)
	if err != nil {
		return err
	}
	if err := m.Apply(ctx, plan); err != nil {
		return err
	}
	created, err := kadm.NewClient(w.kafka).CreateTopics(ctx, int32(shards), 1, nil, topic)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	return errors.Join(created[topic].Err)
}

func (w *world) close() {
	if w.kafka != nil {
		w.kafka.Close()
	}
	if w.redis != nil {
		_ = w.redis.Close()
	}
	if w.kfake != nil {
		w.kfake.Close()
	}
	w.miniredis.Close()
}
