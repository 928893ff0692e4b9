//go:build integration

package servers_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
)

func TestRedisClusterServesAllSlots(t *testing.T) {
	t.Parallel()
	ctx := integration.Context(t, 2*time.Minute)
	begin := time.Now()
	// With everysec Redis puts a write off while an fsync is slow, and a kill loses what was put off.
	cluster, err := servers.StartRedisCluster(ctx, servers.RedisOptions{
		Config: []string{"appendfsync always"},
	})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, cluster)
	t.Logf("%s, started in %v", cluster.Version, time.Since(begin))
	c := redis.NewClusterClient(cluster.Options())
	integration.CloseAtEnd(t, c)
	for i := range 100 {
		if err := c.Set(ctx, fmt.Sprint(i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, node := range cluster.Nodes {
		single := integration.RedisClient(t, node, nil)
		if n, err := single.DBSize(ctx).Result(); err != nil || n == 0 {
			t.Fatalf("%s holds %d keys, %v", node.Name, n, err)
		}
	}
	begin = time.Now()
	if err := cluster.Nodes[1].Restart(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("node restarted in %v", time.Since(begin))
	for i := range 100 {
		if got, err := c.Get(ctx, fmt.Sprint(i)).Result(); err != nil || got != fmt.Sprint(i) {
			t.Fatalf("key %d after the restart: %q, %v", i, got, err)
		}
	}
}

func TestSentinelFailsOver(t *testing.T) {
	t.Parallel()
	// By command, with the master alive, and because the master died.
	for _, kill := range []bool{false, true} {
		t.Run(fmt.Sprintf("kill=%v", kill), func(t *testing.T) {
			t.Parallel()
			ctx := integration.Context(t, 2*time.Minute)
			begin := time.Now()
			s, err := servers.StartSentinel(ctx, servers.SentinelOptions{})
			if err != nil {
				t.Fatal(err)
			}
			integration.CloseAtEnd(t, s)
			t.Logf("%s, started in %v", s.Version, time.Since(begin))
			c := redis.NewFailoverClient(s.Options())
			integration.CloseAtEnd(t, c)
			if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
				t.Fatal(err)
			}
			if n, err := c.Wait(ctx, 1, 10*time.Second).Result(); err != nil || n != 1 {
				t.Fatalf("the replica did not follow: %d, %v", n, err)
			}
			first, err := s.Master(ctx)
			if err != nil {
				t.Fatal(err)
			}
			begin = time.Now()
			var second *servers.Redis
			if kill {
				if err := first.Kill(); err != nil {
					t.Fatal(err)
				}
				second, err = s.AwaitFailover(ctx, first)
			} else {
				second, err = s.Failover(ctx)
			}
			if err != nil || second == first {
				t.Fatalf("failover from %s: %v", first.Name, err)
			}
			t.Logf("failover in %v", time.Since(begin))
			got, err := c.Get(ctx, "k").Result()
			if err != nil || got != "v" {
				t.Fatalf("after the failover: %q, %v", got, err)
			}
		})
	}
}

func TestThreeBrokersOutliveOne(t *testing.T) {
	t.Parallel()
	ctx := integration.Context(t, 3*time.Minute)
	begin := time.Now()
	k, err := servers.StartKafka(ctx, servers.KafkaOptions{Brokers: 3, Java: []string{"-Xmx512m"}})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, k)
	t.Logf("%s, started in %v", k.Version, time.Since(begin))
	c := integration.KafkaClient(t, k)
	if _, err := kadm.NewClient(c).CreateTopic(ctx, 3, 3, nil, "t"); err != nil {
		t.Fatal(err)
	}
	send := func() {
		t.Helper()
		for p := range int32(3) {
			if err := c.ProduceSync(ctx, &kgo.Record{
				Topic: "t", Partition: p,
				Value: []byte("x"),
			}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	send()
	if err := k.Brokers[1].Kill(); err != nil {
		t.Fatal(err)
	}
	send()
	begin = time.Now()
	if err := k.Brokers[1].Restart(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("broker restarted in %v", time.Since(begin))
	send()
	begin = time.Now()
	if err := k.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("cluster restarted in %v", time.Since(begin))
	send()
}

func TestProxiedBrokerSendsClientsThroughTheProxy(t *testing.T) {
	t.Parallel()
	ctx := integration.Context(t, 2*time.Minute)
	k, err := servers.StartKafka(ctx, servers.KafkaOptions{Proxied: true})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, k)
	c, err := kgo.NewClient(kgo.SeedBrokers(k.ProxiedAddrs()...), kgo.AllowAutoTopicCreation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	send := func() <-chan error {
		done := make(chan error, 1)
		c.Produce(ctx, &kgo.Record{Topic: "t", Value: []byte("x")}, func(_ *kgo.Record, err error) {
			done <- err
		})
		return done
	}
	if err := <-send(); err != nil {
		t.Fatal(err)
	}
	k.Brokers[0].Proxy.Pause()
	held := send()
	select {
	case err := <-held:
		t.Fatalf("a record passed a paused proxy: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	k.Brokers[0].Proxy.Heal()
	if err := <-held; err != nil {
		t.Fatal(err)
	}
}
