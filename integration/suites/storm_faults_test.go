//go:build integration

package suites_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/internal/names"
)

// stormFault is one kind of fault, and how often it comes among the others.
type stormFault struct {
	name  string
	share int
	do    func(*storm)
}

var stormDeck = []stormFault{
	{"relay killed", 3, func(s *storm) { s.crew.kill() }},
	{"relay stopped past its session", 3, func(s *storm) { s.crew.freeze() }},
	{"relay replaced", 3, func(s *storm) { s.crew.replace() }},
	{"broker killed", 2, func(s *storm) { s.killBrokers(1) }},
	{"two brokers killed", 1, func(s *storm) { s.killBrokers(2) }},
	{"leader moved", 4, (*storm).moveLeader},
	{"network broken", 4, (*storm).breakNetwork},
}

// fault does what comes next of a shuffled deck, so that a short run has every kind as well.
func (s *storm) fault() {
	s.t.Helper()
	if len(s.deck) == 0 {
		for _, f := range stormDeck {
			for range f.share {
				s.deck = append(s.deck, f)
			}
		}
		s.random.Shuffle(len(s.deck), func(i, j int) { s.deck[i], s.deck[j] = s.deck[j], s.deck[i] })
	}
	f := s.deck[0]
	s.deck = s.deck[1:]
	s.counts[f.name]++
	f.do(s)
}

// upTo is a random length of a fault.
func (s *storm) upTo(longest time.Duration) time.Duration {
	return time.Duration(s.random.Int64N(int64(longest)))
}

// killBrokers kills some of the brokers at once; they come back after a while. The next such fault
// waits until all copies are in sync: three at once would lose what only they had.
func (s *storm) killBrokers(n int) {
	s.t.Helper()
	s.over(&s.brokers)
	var away []*servers.Broker
	for _, i := range s.random.Perm(len(s.k.Brokers))[:n] {
		away = append(away, s.k.Brokers[i])
		if err := s.k.Brokers[i].Kill(); err != nil {
			s.t.Fatal(err)
		}
	}
	lasts := s.upTo(8 * time.Second)
	s.brokers.begin(func() error {
		time.Sleep(lasts) // the length of the fault
		for _, b := range away {
			if err := b.Restart(s.ctx); err != nil {
				return err
			}
		}
		return testenv.Poll(s.ctx, 2*time.Minute, func(ctx context.Context) error {
			return inSync(ctx, s.w)
		})
	})
}

// moveLeader gives a partition another leader. That of __transaction_state is the coordinator of a
// quarter of the transactional ids, that of __consumer_offsets coordinates groups.
func (s *storm) moveLeader() {
	s.t.Helper()
	s.over(&s.brokers) // only a copy in sync can lead
	topics := []string{
		"__transaction_state", "__transaction_state", "__consumer_offsets",
		names.PositionsTopic(s.w.Outbox), s.w.Topic(),
	}
	topic := topics[s.random.IntN(len(topics))]
	partitions := map[string]int{"__transaction_state": 4, "__consumer_offsets": 4}[topic]
	if partitions == 0 {
		partitions = s.w.Shards
	}
	partition := int32(s.random.IntN(partitions))
	leader, copies, err := leadership(s.ctx, s.w, topic, partition)
	if err != nil {
		s.t.Fatal(err)
	}
	for copies[0] == leader {
		copies = append(copies[1:], copies[0])
	}
	s.w.Await(time.Minute, func(ctx context.Context) error {
		if err := elect(ctx, s.w, topic, partition, copies); err != nil {
			return err
		}
		leader, _, err := leadership(ctx, s.w, topic, partition)
		if err == nil && leader != copies[0] {
			err = fmt.Errorf("topic %s, partition %d: broker %d leads, want %d", topic, partition, leader,
				copies[0])
		}
		return err
	})
}

// leadership asks a broker who leads a partition, and who has copies.
func leadership(ctx context.Context, w *testenv.Env, topic string,
	partition int32,
) (leader int32, copies []int32, err error) {
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = &topic
	req.Topics = append(req.Topics, rt)
	answer, err := req.RequestWith(ctx, w.Kafka)
	if err != nil {
		return -1, nil, err
	}
	for _, p := range answer.Topics[0].Partitions {
		if p.Partition == partition {
			return p.Leader, p.Replicas, nil
		}
	}
	return -1, nil, fmt.Errorf("topic %s has no partition %d", topic, partition)
}

// elect makes the first of a partition's copies its leader.
func elect(ctx context.Context, w *testenv.Env, topic string, partition int32,
	copies []int32,
) error {
	admin := kadm.NewClient(w.Kafka)
	assigned, err := admin.AlterPartitionAssignments(ctx,
		kadm.AlterPartitionAssignmentsReq{topic: {partition: copies}})
	if err = errors.Join(err, assigned.Error()); err != nil {
		return err
	}
	elected, err := admin.ElectLeaders(ctx, kadm.ElectPreferredReplica,
		kadm.TopicsSet{topic: {partition: {}}})
	if err != nil {
		return err
	}
	if err := elected[topic][partition].Err; err != nil && !errors.Is(err, kerr.ElectionNotNeeded) {
		return fmt.Errorf("topic %s, partition %d: %w", topic, partition, err)
	}
	return nil
}

// breakNetwork breaks the way of relays to one broker, or to all, for a while.
func (s *storm) breakNetwork() {
	s.t.Helper()
	s.over(&s.network)
	begin := []func(*servers.Proxy){
		(*servers.Proxy).Cut, (*servers.Proxy).Pause, (*servers.Proxy).HalfOpen, (*servers.Proxy).Reset,
		func(p *servers.Proxy) { p.SetLatency(100 * time.Millisecond); p.SetBandwidth(200_000) },
	}[s.random.IntN(5)]
	brokers := s.k.Brokers
	if s.random.IntN(2) == 0 {
		n := s.random.IntN(len(brokers))
		brokers = brokers[n : n+1]
	}
	for _, b := range brokers {
		begin(b.Proxy)
	}
	lasts := s.upTo(8 * time.Second)
	s.network.begin(func() error {
		time.Sleep(lasts) // the length of the fault
		for _, b := range brokers {
			b.Proxy.Heal()
			b.Proxy.SetLatency(0)
			b.Proxy.SetBandwidth(0)
		}
		return nil
	})
}
