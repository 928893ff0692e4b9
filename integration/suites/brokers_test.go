//go:build integration

package suites_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/relay"
)

// replicated is an environment on a cluster of three brokers, with three copies of everything, two
// of which have to be in sync.
func replicated(ctx context.Context, t *testing.T, shards int) (*testenv.Env, *servers.Kafka) {
	t.Helper()
	return replicatedOn(ctx, t, shards, servers.KafkaOptions{})
}

// replicatedOn is replicated with options for the cluster.
func replicatedOn(ctx context.Context, t *testing.T, shards int,
	o servers.KafkaOptions,
) (*testenv.Env, *servers.Kafka) {
	t.Helper()
	o.Brokers, o.Java = 3, []string{"-Xmx512m"}
	o.Properties = map[string]string{
		"default.replication.factor": "3", "min.insync.replicas": "2",
		// Leaders move when a test moves them.
		"auto.leader.rebalance.enable": "false",
	}
	k, err := servers.StartKafka(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, k)
	t.Logf("servers: %s, %s", integration.Servers(t).Redis.Version, k.Version)
	w := testenv.New(t, testenv.Options{Shards: shards, Kafka: k.Addrs()})
	if _, err := kadm.NewClient(w.Kafka).CreateTopic(ctx, int32(shards), 3, nil,
		w.Topic()); err != nil {
		t.Fatal(err)
	}
	return w, k
}

// TestExactlyOnceWhileBrokersDie: each broker of three is killed and comes back, while events are
// written: leaders of partitions and coordinators move. Then two are away at once, so that nothing
// can be written (NOT_ENOUGH_REPLICAS, and no coordinator): no shard says that it runs, Redis
// keeps, and all of it is delivered when they are back.
func TestExactlyOnceWhileBrokersDie(t *testing.T) {
	t.Parallel()
	ctx := deadline(t, 10*time.Minute)
	w, k := replicated(ctx, t, 4)
	random := integration.Seed(t)
	events := scaled(t, 20_000)
	shop := w.Open(ctx, testenv.ShopOptions{Events: events, Seed: random.Uint64(), Gated: true})
	w.Run(w.Config())
	steps := len(k.Brokers) + 1
	allow := func(n int) {
		shop.Allow(events * (n + 1) / steps)
		shop.Await(2*time.Minute, events*n/steps+random.IntN(max(1, events/steps/2)))
	}
	for n, b := range k.Brokers {
		allow(n)
		if err := b.Kill(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		w.AwaitPassed(2 * time.Minute)
		t.Logf("broker %d killed: what had been written until then was delivered %s later", b.ID,
			time.Since(began).Round(100*time.Millisecond))
		if err := b.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		awaitInSync(t, w)
	}

	allow(len(k.Brokers))
	away := k.Brokers[:2]
	for _, b := range away {
		if err := b.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	w.Await(2*time.Minute, func(ctx context.Context) error {
		for shard := range w.Shards {
			st, err := w.Status(ctx, shard)
			if err != nil {
				return err
			}
			if st.State == relay.StateRunning {
				return fmt.Errorf("shard %d runs with two of three brokers away", shard)
			}
		}
		return nil
	})
	shop.Close(2 * time.Minute) // writers do not notice
	for _, b := range away {
		if err := b.Cont(); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	w.AwaitCommitted(2 * time.Minute)
	t.Logf("two brokers back: everything was delivered %s later",
		time.Since(began).Round(100*time.Millisecond))
	verify(t, w)
}

// awaitInSync waits until every copy is in sync, so that the next broker may go.
func awaitInSync(t *testing.T, w *testenv.Env) {
	t.Helper()
	w.Await(2*time.Minute, func(ctx context.Context) error { return inSync(ctx, w) })
}

// inSync says which copy is not in sync. It asks a broker: kadm would answer from a cache.
func inSync(ctx context.Context, w *testenv.Env) error {
	answer, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, w.Kafka)
	if err != nil {
		return err
	}
	for _, topic := range answer.Topics {
		for _, p := range topic.Partitions {
			if len(p.ISR) < len(p.Replicas) || p.Leader < 0 {
				return fmt.Errorf("topic %s, partition %d: %d of %d copies are in sync", *topic.Topic,
					p.Partition, len(p.ISR), len(p.Replicas))
			}
		}
	}
	return nil
}
