//go:build integration

package suites_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/integration/testenv"
)

// TestRedisClusterCarriesEventsOnce: three nodes, twelve shards over all of them, 10,000 events;
// one of the nodes is killed and restarted in the middle.
func TestRedisClusterCarriesEventsOnce(t *testing.T) {
	t.Parallel()
	cluster, err := servers.StartRedisCluster(deadline(t, 2*time.Minute),
		servers.RedisOptions{Config: []string{"appendfsync always"}})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, cluster)
	t.Logf("servers: %s as a cluster of %d nodes, %s", cluster.Version, len(cluster.Nodes),
		integration.Servers(t).Kafka.Version)
	w := testenv.New(t, testenv.Options{
		Shards: 12,
		Redis:  redis.UniversalOptions{Addrs: cluster.Addrs()},
	})
	ctx := deadline(t, 5*time.Minute)
	logSpread(t, w)

	w.Spawn(nil)
	w.Spawn(nil)
	const events = 10_000
	shop := w.Open(ctx, testenv.ShopOptions{
		Events: events, Seed: integration.Seed(t).Uint64(),
		Gated: true, Persistent: true,
	})
	shop.Allow(events / 2)
	shop.Await(time.Minute, events/4)
	began := time.Now()
	if err := cluster.Nodes[1].Restart(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("one node killed and restarted in %s", time.Since(began).Round(100*time.Millisecond))
	shop.Allow(events)
	shop.Close(2 * time.Minute)
	w.AwaitCommitted(2 * time.Minute)
	verify(t, w)
}

// logSpread tells on which nodes the shards are; they must not be on one alone.
func logSpread(t *testing.T, w *testenv.Env) {
	t.Helper()
	client, ok := w.Redis.(*redis.ClusterClient)
	if !ok {
		t.Fatalf("the client is a %T", w.Redis)
	}
	shards := map[string]int{}
	for shard := range w.Shards {
		node, err := client.MasterForKey(deadline(t, time.Minute), w.Stream(shard))
		if err != nil {
			t.Fatal(err)
		}
		shards[node.Options().Addr]++
	}
	t.Logf("shards by node: %v", shards)
	if len(shards) < 2 {
		t.Error("all shards are on one node")
	}
}
