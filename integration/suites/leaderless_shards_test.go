//go:build integration

package suites_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/relay"
)

// TestLeaderlessPartition: one partition of the event topic loses its only leader while
// transactions run. The shard that writes there waits and says where; the others deliver on, also
// when a relay dies meanwhile. When the leader is back everything is delivered, once.
func TestLeaderlessPartition(t *testing.T) {
	t.Parallel()
	ctx := deadline(t, 15*time.Minute)
	const (
		shards  = 6
		victim  = 2 // the broker that has the only copy
		blocked = 0 // the partition, and so the shard
	)
	w, k := threeBrokers(ctx, t, shards)
	onlyCopy(ctx, t, w, blocked, victim)
	others := []int{1, 2, 3, 4, 5}
	settings := testenv.Settings{"session_timeout": session.String()}
	first, second := w.Spawn(settings), w.Spawn(settings)
	awaitOwners(t, w, first.Instance, second.Instance)
	watch := w.WatchStillness(stillnessLimit)

	events := scaled(t, 60_000)
	shop := w.Open(ctx, testenv.ShopOptions{
		Events: events, Seed: integration.Seed(t).Uint64(),
		Gated: true,
	})
	part := func(n int) {
		shop.Allow(events * n / 4)
		shop.Await(time.Minute, events*n/4)
	}
	part(1)
	shop.Allow(events / 2)
	shop.Await(time.Minute, events*3/8)
	if err := k.Brokers[victim-1].Kill(); err != nil {
		t.Fatal(err)
	}
	gone := time.Now()
	awaitLeader(t, w, blocked, false)
	part(2)
	w.AwaitPassed(time.Minute, others...)
	t.Logf("the other shards delivered on %s after the broker was killed",
		time.Since(gone).Round(100*time.Millisecond))
	awaitAccount(t, w, partitionNamed(w.Topic(), blocked), blocked)
	t.Logf("the shard without a leader accounts for itself %s after the broker was killed",
		time.Since(gone).Round(100*time.Millisecond))
	for _, shard := range others {
		st, err := w.Status(ctx, shard)
		if err != nil {
			t.Fatal(err)
		}
		if st.State != relay.StateRunning {
			t.Errorf("shard %d does not write to the partition without a leader, and is not running; %s",
				shard, st)
		}
	}

	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	part(3)
	w.AwaitPassed(session+takeoverSlack, others...)
	t.Logf("a relay was killed: the other shards deliver again %s later",
		time.Since(killed).Round(100*time.Millisecond))

	if err := k.Brokers[victim-1].Restart(ctx); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	shop.Allow(events)
	shop.Close(time.Minute)
	w.AwaitCommitted(2 * time.Minute)
	t.Logf("the leader is back: all was delivered %s later",
		time.Since(back).Round(100*time.Millisecond))
	watch.End()
	verify(t, w)
}

// threeBrokers is an environment on a cluster of three brokers, without its topic.
func threeBrokers(ctx context.Context, t *testing.T, shards int) (*testenv.Env, *servers.Kafka) {
	t.Helper()
	k, err := servers.StartKafka(ctx, servers.KafkaOptions{Brokers: 3, Java: []string{"-Xmx512m"}})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, k)
	t.Logf("servers: %s, %s", integration.Servers(t).Redis.Version, k.Version)
	return testenv.New(t, testenv.Options{Shards: shards, Kafka: k.Addrs()}), k
}

// onlyCopy makes the environment's topic, as many partitions as shards, with one copy each: that of
// one partition is alone on its broker.
func onlyCopy(ctx context.Context, t *testing.T, w *testenv.Env, partition, broker int32) {
	t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = w.Topic(), -1, -1
	others := slices.DeleteFunc([]int32{1, 2, 3}, func(id int32) bool { return id == broker })
	for n := range int32(w.Shards) {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition, a.Replicas = n, others[n%2:n%2+1]
		if n == partition {
			a.Replicas = []int32{broker}
		}
		topic.ReplicaAssignment = append(topic.ReplicaAssignment, a)
	}
	req.Topics = append(req.Topics, topic)
	answer, err := req.RequestWith(ctx, w.Kafka)
	if err == nil {
		err = kerr.ErrorForCode(answer.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatal(err)
	}
}
