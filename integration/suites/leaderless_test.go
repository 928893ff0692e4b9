//go:build integration

package suites_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// TestCommitWhileAPartitionHasNoLeader: the broker that has the only copy of a partition is away
// when a transaction on that partition commits, and comes back. A coordinator with KAFKA-20734 has
// called the transaction ended without a marker there; were it left so, the next abort of the same
// id would take the committed records away.
func TestCommitWhileAPartitionHasNoLeader(t *testing.T) {
	t.Parallel()
	ctx := deadline(t, 5*time.Minute)
	k, err := servers.StartKafka(ctx, servers.KafkaOptions{Brokers: 3, Java: []string{"-Xmx400m"}})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, k)
	t.Logf("servers: %s, %s", integration.Servers(t).Redis.Version, k.Version)
	w := testenv.New(t, testenv.Options{Shards: 1, Kafka: k.Addrs()})
	onePartitionABroker(ctx, t, w)
	key := "k"
	add := func() { w.AddFields(0, "*", append(w.Fields("payload"), outbox.FieldKey, key)...) }
	owner := func(instance string, hold *holder) *testenv.Running {
		cfg := w.Config()
		cfg.Instance, cfg.Assign, cfg.Kafka = instance, []int{0},
			append(w.KafkaOpts(), kgo.Dialer(hold.Dial))
		return w.Run(cfg)
	}
	held := func(h *holder) {
		select {
		case <-h.held:
		case <-time.After(time.Minute):
			t.Fatal("the relay did not come to its commit")
		}
	}

	hold := newHolder(kmsg.EndTxn)
	first := owner("first", hold)
	add()
	w.AwaitCommitted(time.Minute) // on a
	victim := withoutCoordinator(ctx, t, w)
	for n := 0; outbox.Partition([]byte(key), 3) != victim-1; n++ {
		key = fmt.Sprintf("k%d", n)
	}
	hold.armed.Store(true)
	add()
	held(hold) // on b
	if err := k.Brokers[victim-1].Kill(); err != nil {
		t.Fatal(err)
	}
	awaitLeader(t, w, victim-1, false)
	close(hold.free)
	w.AwaitCommitted(time.Minute)
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := k.Brokers[victim-1].Restart(ctx); err != nil {
		t.Fatal(err)
	}
	awaitLeader(t, w, victim-1, true)

	hold = newHolder(kmsg.EndTxn)
	second := owner("second", hold)
	add()
	w.AwaitCommitted(time.Minute) // on a
	hold.armed.Store(true)
	add()
	held(hold) // on b
	third := owner("third", newHolder(kmsg.EndTxn))
	w.AwaitCommitted(time.Minute)
	close(hold.free)
	if err := second.Stop(); err != nil {
		t.Fatal(err)
	}
	add()
	w.AwaitCommitted(time.Minute)
	if err := third.Stop(); err != nil {
		t.Fatal(err)
	}
	verify(t, w)
	t.Logf("transactions that had been left open: %d",
		strings.Count(second.Log(), "had left a transaction of this shard open"))
}

// onePartitionABroker makes the environment's topic: partition n has one copy, on broker n+1.
func onePartitionABroker(ctx context.Context, t *testing.T, w *testenv.Env) {
	t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = w.Topic(), -1, -1
	for n := range int32(3) {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition, a.Replicas = n, []int32{n + 1}
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

// withoutCoordinator is a broker that coordinates none of the transactional ids of shard 0.
func withoutCoordinator(ctx context.Context, t *testing.T, w *testenv.Env) int {
	t.Helper()
	lane := w.Lane(0)
	coordinators := kadm.NewClient(w.Kafka).FindTxnCoordinators(ctx, names.LaneID(w.Outbox, lane, 'a'),
		names.LaneID(w.Outbox, lane, 'b'))
	if err := coordinators.Error(); err != nil {
		t.Fatal(err)
	}
	taken := map[int32]bool{}
	for _, c := range coordinators {
		taken[c.NodeID] = true
	}
	for id := range 3 {
		if !taken[int32(id+1)] {
			return id + 1
		}
	}
	t.Fatal("two ids have three coordinators")
	return 0
}

func awaitLeader(t *testing.T, w *testenv.Env, partition int, there bool) {
	t.Helper()
	w.Await(time.Minute, func(ctx context.Context) error {
		req := kmsg.NewPtrMetadataRequest()
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr(w.Topic())
		req.Topics = append(req.Topics, topic)
		answer, err := req.RequestWith(ctx, w.Kafka)
		if err != nil {
			return err
		}
		for _, p := range answer.Topics[0].Partitions {
			if p.Partition == int32(partition) && (p.Leader >= 0) != there {
				return fmt.Errorf("partition %d has leader %d", partition, p.Leader)
			}
		}
		return nil
	})
}
