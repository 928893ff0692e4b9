//go:build integration

package servers_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
)

// TestSeparatedBrokerStaysLeaderForItself: whatever separates the leader of a partition from the
// others, these elect another one and go on, and the old one says to clients that it leads, and has
// what it had, until it is healed.
func TestSeparatedBrokerStaysLeaderForItself(t *testing.T) {
	t.Parallel()
	ctx := integration.Context(t, 5*time.Minute)
	begin := time.Now()
	k, err := servers.StartKafka(ctx, servers.KafkaOptions{
		Brokers: 3, Isolable: true, Java: []string{"-Xmx512m"},
	})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, k)
	t.Logf("%s, started in %v", k.Version, time.Since(begin))
	c := integration.KafkaClient(t, k)
	if _, err := kadm.NewClient(c).CreateTopic(ctx, 1, 3, nil, "t"); err != nil {
		t.Fatal(err)
	}
	for name, separate := range map[string]func(*servers.Broker) error{
		"isolated":            (*servers.Broker).Isolate,
		"without controllers": (*servers.Broker).IsolateFromControllers,
		"held":                (*servers.Broker).Hold,
	} {
		t.Run(name, func(t *testing.T) {
			old := k.Brokers[await(ctx, t, func() (int32, error) { return leaderOf(ctx, k.Brokers[0]) })-1]
			other := k.Brokers[old.ID%3]
			send(ctx, t, c)
			before := await(ctx, t, func() (int64, error) { return endOf(ctx, old) })

			begin := time.Now()
			if err := separate(old); err != nil {
				t.Fatal(err)
			}
			next := k.Brokers[await(ctx, t, func() (int32, error) {
				id, err := leaderOf(ctx, other)
				if err == nil && id == int32(old.ID) {
					err = errors.New("no new leader")
				}
				return id, err
			})-1]
			t.Logf("broker %d leads instead of %d after %v", next.ID, old.ID, time.Since(begin))
			fresh := integration.KafkaClient(t, k, kgo.SeedBrokers(next.Addr))
			send(ctx, t, fresh)
			if id, err := leaderOf(ctx, old); err != nil || id != int32(old.ID) {
				t.Fatalf("the old leader says that %d leads, %v", id, err)
			}
			if end, err := endOf(ctx, old); err != nil || end != before {
				t.Fatalf("the old leader's log ends at %d, %v; it ended at %d", end, err, before)
			}

			begin = time.Now()
			if err := old.Heal(); err != nil {
				t.Fatal(err)
			}
			await(ctx, t, func() (int32, error) {
				id, err := leaderOf(ctx, old)
				if err == nil && id == int32(old.ID) {
					err = errors.New("the old leader has not learned of the new one")
				}
				return id, err
			})
			await(ctx, t, func() (bool, error) {
				all, err := inSync(ctx, old)
				if err == nil && all < 3 {
					err = fmt.Errorf("%d copies are in sync", all)
				}
				return true, err
			})
			t.Logf("healed after %v", time.Since(begin))
			send(ctx, t, c)
		})
	}
}

// await polls until get has no error.
func await[T any](ctx context.Context, t *testing.T, get func() (T, error)) T {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := get()
		if err == nil {
			return got
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}

func send(ctx context.Context, t *testing.T, c *kgo.Client) {
	t.Helper()
	if err := c.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func leaderOf(ctx context.Context, b *servers.Broker) (int32, error) {
	p, err := partitionOf(ctx, b)
	return p.Leader, err
}

func inSync(ctx context.Context, b *servers.Broker) (int, error) {
	p, err := partitionOf(ctx, b)
	return len(p.ISR), err
}

// partitionOf is what a broker says of the test's partition.
func partitionOf(ctx context.Context,
	b *servers.Broker,
) (p kmsg.MetadataResponseTopicPartition, _ error) {
	c, err := kgo.NewClient(kgo.SeedBrokers(b.Addr))
	if err != nil {
		return p, err
	}
	defer c.Close()
	req := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr("t")
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, c.SeedBrokers()[0])
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	if err != nil {
		return p, err
	}
	if p = resp.Topics[0].Partitions[0]; p.Leader < 1 {
		return p, errors.New("no leader")
	}
	return p, nil
}

// endOf is where a broker says that the test's partition ends.
func endOf(ctx context.Context, b *servers.Broker) (int64, error) {
	c, err := kgo.NewClient(kgo.SeedBrokers(b.Addr))
	if err != nil {
		return 0, err
	}
	defer c.Close()
	req := kmsg.NewPtrListOffsetsRequest()
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = "t"
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp = -1
	topic.Partitions = append(topic.Partitions, p)
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, c.SeedBrokers()[0])
	if err != nil {
		return 0, err
	}
	return resp.Topics[0].Partitions[0].Offset,
		kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
}
