package testenv

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/migrations"
	"github.com/sluice-outbox/sluice/outbox"
)

// TB is the part of testing.TB that this package uses.
type TB interface {
	integration.TB
	Errorf(format string, args ...any)
}

// Options of an Env. Zero values mean what their field says.
type Options struct {
	// Shards of the outbox; 0: 4.
	Shards int
	// Redis is the deployment, a single server, a cluster or one behind Sentinel; no address: the
	// server that the tests of this process share.
	Redis redis.UniversalOptions
	// Kafka has the brokers' addresses; nil: the servers that the tests of this process share.
	Kafka []string
	// RelayKafka has the addresses that relays get instead, proxies before the brokers for example;
	// nil: the same.
	RelayKafka []string
}

// Env is one outbox on real servers. Its methods that wait fail the test when they have waited long
// enough; they belong to the test's goroutine.
type Env struct {
	t TB
	// Outbox is the name of the outbox, and Shards its size.
	Outbox string
	Shards int
	// Redis is a client without faults, for the test itself and for relays in this process.
	Redis redis.UniversalClient
	// Kafka is a client without faults, for the test itself.
	Kafka *kgo.Client

	options redis.UniversalOptions
	brokers []string // of relays
	direct  []string // of the test
	spawned int      // relay processes so far
	added   int      // entries added by Add so far
	dir     string   // of configuration files
}

// New lays out an outbox of its own. Everything that the Env opens is closed when the test ends;
// topics and keys stay, under a name that nobody uses again.
func New(t TB, o Options) *Env {
	t.Helper()
	if o.Shards == 0 {
		o.Shards = 4
	}
	if len(o.Redis.Addrs) == 0 {
		s := integration.Servers(t).Redis.Options()
		o.Redis.Addrs, o.Redis.DB, o.Redis.TLSConfig = []string{s.Addr}, s.DB, s.TLSConfig
		o.Redis.Username, o.Redis.Password = s.Username, s.Password
	}
	if o.Kafka == nil {
		o.Kafka = integration.Servers(t).Kafka.Addrs()
	}
	if o.RelayKafka == nil {
		o.RelayKafka = o.Kafka
	}
	w := &Env{
		t: t, Outbox: integration.Prefix(t), Shards: o.Shards, options: o.Redis,
		brokers: o.RelayKafka, direct: o.Kafka,
	}
	w.Redis = w.RedisClient(nil)
	client, err := kgo.NewClient(kgo.SeedBrokers(o.Kafka...))
	if err != nil {
		t.Fatalf("kafka client: %v", err)
	}
	t.Cleanup(client.Close)
	w.Kafka = client
	w.migrate()
	return w
}

// RedisClient returns another client of the deployment, with changed options if change is not nil.
// It is closed when the test ends.
func (w *Env) RedisClient(change func(*redis.UniversalOptions)) redis.UniversalClient {
	w.t.Helper()
	o := w.options
	// A relay wants two connections a shard; writers and the test come on top.
	o.PoolSize = 64
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	if change != nil {
		change(&o)
	}
	client := redis.NewUniversalClient(&o)
	w.t.Cleanup(func() {
		if err := client.Close(); err != nil {
			w.t.Logf("close Redis client: %v", err)
		}
	})
	return client
}

// KafkaOpts are the options that relays of this environment get.
func (w *Env) KafkaOpts() []kgo.Opt {
	return []kgo.Opt{kgo.SeedBrokers(w.brokers...), kgo.MetadataMinAge(100 * time.Millisecond)}
}

// KafkaDirect are the options of clients that go to the brokers themselves, not to proxies before
// them.
func (w *Env) KafkaDirect() []kgo.Opt {
	return []kgo.Opt{kgo.SeedBrokers(w.direct...), kgo.MetadataMinAge(100 * time.Millisecond)}
}

// Topic is where the events of this environment go, one topic for all shards with as many
// partitions.
func (w *Env) Topic() string { return w.Outbox + ".events" }

// Stream is the key of a shard's stream.
func (w *Env) Stream(shard int) string { return outbox.StreamKey(w.Outbox, shard) }

func (w *Env) migrate() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	m, err := migrations.New(w.Redis, w.Kafka, migrations.Config{Outbox: w.Outbox, Shards: w.Shards})
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	plan, err := m.Plan(ctx, migrations.Newest)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	if err := m.Apply(ctx, plan); err != nil {
		w.t.Fatalf("%v", err)
	}
}

// poll is how often a condition is looked at.
const poll = 100 * time.Millisecond

// Await polls a condition until it holds; what says why it does not yet. The test fails after
// limit.
func (w *Env) Await(limit time.Duration, what func(context.Context) error) {
	w.t.Helper()
	if err := Poll(context.Background(), limit, what); err != nil {
		w.t.Fatalf("%v", err)
	}
}

// Within is Await for a condition that need not come to hold: it returns why it did not.
func (w *Env) Within(limit time.Duration, what func(context.Context) error) error {
	return Poll(context.Background(), limit, what)
}

// Poll is Await for goroutines that may not end the test: it returns what the test would fail with.
func Poll(ctx context.Context, limit time.Duration, what func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	var last error
	for {
		err := what(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err // the one of an attempt that the deadline cut says less
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %s: %w", limit, last)
		case <-tick.C:
		}
	}
}
