//go:build integration

package suites_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
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
	"github.com/sluice-outbox/sluice/relay"
)

// isolable is an environment on three brokers, each of which can be cut off from the others while
// clients reach it.
type isolable struct {
	*testenv.Env
	t *testing.T
	k *servers.Kafka
	// ask has a client for each broker by its id, to be asked for what that broker says.
	ask map[int]*kgo.Client
}

func newIsolable(ctx context.Context, t *testing.T, shards int) *isolable {
	t.Helper()
	d := &isolable{t: t, ask: map[int]*kgo.Client{}}
	d.Env, d.k = replicatedOn(ctx, t, shards, servers.KafkaOptions{Isolable: true})
	for _, b := range d.k.Brokers {
		d.ask[b.ID] = integration.KafkaClient(t, d.k, kgo.SeedBrokers(b.Addr))
	}
	// The topics of coordinators are made when the first one is looked for.
	for _, req := range []kmsg.FindCoordinatorRequest{
		{CoordinatorType: 0, CoordinatorKey: "any", CoordinatorKeys: []string{"any"}},
		{CoordinatorType: 1, CoordinatorKey: "any", CoordinatorKeys: []string{"any"}},
	} {
		d.Await(time.Minute, func(ctx context.Context) error {
			resp, err := req.RequestWith(ctx, d.Kafka)
			if err == nil && len(resp.Coordinators) > 0 {
				err = kerr.ErrorForCode(resp.Coordinators[0].ErrorCode)
			}
			return err
		})
	}
	return d
}

// seededBy are the options of a client that asks one broker first. It learns of the others from it.
func seededBy(brokers ...*servers.Broker) []kgo.Opt {
	var addrs []string
	for _, b := range brokers {
		addrs = append(addrs, b.Addr)
	}
	return []kgo.Opt{kgo.SeedBrokers(addrs...), kgo.MetadataMinAge(100 * time.Millisecond)}
}

// others are the brokers beside one.
func (d *isolable) others(b *servers.Broker) []*servers.Broker {
	return slices.DeleteFunc(slices.Clone(d.k.Brokers), func(x *servers.Broker) bool { return x == b })
}

// place is a partition of a topic.
type place struct {
	topic     string
	partition int32
}

// view is what one broker says of all partitions.
type view map[place]kmsg.MetadataResponseTopicPartition

func (d *isolable) viewOf(ctx context.Context, b *servers.Broker) (view, error) {
	// The client may have learned of the other brokers, of which none is to answer.
	resp, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, d.ask[b.ID].SeedBrokers()[0])
	if err != nil {
		return nil, fmt.Errorf("metadata from broker %d: %w", b.ID, err)
	}
	v := view{}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			v[place{*t.Topic, p.Partition}] = p
		}
	}
	return v, nil
}

// lead makes brokers the leaders of all partitions as choose says, and returns when every broker
// knows it and every copy is in sync.
func (d *isolable) lead(choose func(place) *servers.Broker) {
	d.t.Helper()
	ctx := deadline(d.t, 2*time.Minute)
	admin := kadm.NewClient(d.Kafka)
	v, err := d.viewOf(ctx, d.k.Brokers[0])
	if err != nil {
		d.t.Fatal(err)
	}
	want := map[place]int32{}
	var assign kadm.AlterPartitionAssignmentsReq
	set := kadm.TopicsSet{}
	for at, p := range v {
		leader := int32(choose(at).ID)
		want[at] = leader
		order := slices.Clone(p.Replicas)
		slices.SortFunc(order, func(a, b int32) int {
			return cmp.Compare((a-leader+3)%3, (b-leader+3)%3)
		})
		assign.Assign(at.topic, at.partition, order)
		set.Add(at.topic, at.partition)
	}
	d.Await(time.Minute, func(ctx context.Context) error {
		answer, err := admin.AlterPartitionAssignments(ctx, assign)
		if err == nil {
			err = answer.Error()
		}
		if err != nil {
			return fmt.Errorf("assign replicas: %w", err)
		}
		// What is led as it should be has an error that says so.
		_, err = admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, set)
		return err
	})
	d.Await(time.Minute, func(ctx context.Context) error {
		for _, b := range d.k.Brokers {
			v, err := d.viewOf(ctx, b)
			if err != nil {
				return err
			}
			for at, leader := range want {
				if p := v[at]; p.Leader != leader || len(p.ISR) != len(p.Replicas) {
					return fmt.Errorf(
						"broker %d says that %v is led by %d, want %d, and %d of %d copies are in sync",
						b.ID, at, p.Leader, leader, len(p.ISR), len(p.Replicas))
				}
			}
		}
		return nil
	})
}

// isolate cuts a broker off and returns when the others have taken over all that it led, of which
// it knows nothing.
func (d *isolable) isolate(b *servers.Broker) {
	d.t.Helper()
	if err := b.Isolate(); err != nil {
		d.t.Fatal(err)
	}
	d.Await(time.Minute, func(ctx context.Context) error {
		for _, other := range d.others(b) {
			v, err := d.viewOf(ctx, other)
			if err != nil {
				return err
			}
			for at, p := range v {
				if p.Leader == int32(b.ID) || p.Leader < 0 {
					return fmt.Errorf("broker %d says that %v is led by %d", other.ID, at, p.Leader)
				}
			}
		}
		return nil
	})
}

// leads says whether a broker takes itself for the leader of every partition of the positions
// topic.
func (d *isolable) leads(ctx context.Context, b *servers.Broker) error {
	v, err := d.viewOf(ctx, b)
	if err != nil {
		return err
	}
	for shard := range d.Shards {
		if p := v[place{names.PositionsTopic(d.Outbox), int32(shard)}]; p.Leader != int32(b.ID) {
			return fmt.Errorf("broker %d says that %d leads the positions of shard %d", b.ID, p.Leader,
				shard)
		}
	}
	return nil
}

// heal joins a broker to the others, and returns when every copy is in sync and all brokers say the
// same of every partition.
func (d *isolable) heal(b *servers.Broker) {
	d.t.Helper()
	if err := b.Heal(); err != nil {
		d.t.Fatal(err)
	}
	d.awaitJoined()
}

func (d *isolable) awaitJoined() {
	d.t.Helper()
	d.Await(2*time.Minute, func(ctx context.Context) error {
		first, err := d.viewOf(ctx, d.k.Brokers[0])
		if err != nil {
			return err
		}
		for _, b := range d.k.Brokers {
			v, err := d.viewOf(ctx, b)
			if err != nil {
				return err
			}
			if len(v) != len(first) {
				return fmt.Errorf("broker %d knows %d partitions, another one %d", b.ID, len(v), len(first))
			}
			for at, p := range v {
				if q := first[at]; p.Leader < 0 || p.Leader != q.Leader || p.LeaderEpoch != q.LeaderEpoch {
					return fmt.Errorf("broker %d says that %v is led by %d in epoch %d, another one %d in %d",
						b.ID, at, p.Leader, p.LeaderEpoch, q.Leader, q.LeaderEpoch)
				}
				if len(p.ISR) < len(p.Replicas) {
					return fmt.Errorf("broker %d says that %d of %d copies of %v are in sync",
						b.ID, len(p.ISR), len(p.Replicas), at)
				}
			}
		}
		return nil
	})
}

// addEach appends entries to every shard.
func (d *isolable) addEach(n int, payload string) {
	d.t.Helper()
	for shard := range d.Shards {
		d.Add(shard, n, payload)
	}
}

// owner is a relay that has all shards and no other to share them with.
func (d *isolable) owner(instance string, kafka []kgo.Opt) *testenv.Running {
	d.t.Helper()
	cfg := d.Config()
	cfg.Instance, cfg.Kafka, cfg.Assign = instance, kafka, []int{}
	for shard := range d.Shards {
		cfg.Assign = append(cfg.Assign, shard)
	}
	return d.Env.Run(cfg)
}

// running says whether every shard of a relay runs.
func (d *isolable) running(r *testenv.Running) error {
	status := r.Status()
	if len(status) < d.Shards {
		return errors.New("the relay has not begun")
	}
	for _, st := range status {
		if st.State != relay.StateRunning {
			return fmt.Errorf("shard %d is %s: %s", st.Shard, st.State, st.Reason)
		}
	}
	return nil
}
