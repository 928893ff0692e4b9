package admin

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// stage is an outbox "orders" of two shards on substitutes of both servers.
type stage struct {
	Servers
	mini  *miniredis.Miniredis
	kafka *kfake.Cluster
}

func newStage(t *testing.T) *stage {
	t.Helper()
	mini := miniredis.RunT(t)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1),
		kfake.SeedTopics(2, names.PositionsTopic("orders")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	opts := []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...)}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	rdb := redis.NewClient(&redis.Options{Addr: mini.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	s := &stage{Servers{Redis: rdb, Admin: kadm.NewClient(client), Kafka: opts}, mini, cluster}
	mini.HSet(names.LayoutKey("orders"), "version", "2", "format", "1", "shards", "2")
	for shard := range 2 {
		if err := rdb.XGroupCreateMkStream(t.Context(), outbox.StreamKey("orders", shard),
			names.ConsumerGroup, "0").Err(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// append adds entries 1-0 … n-0 to shard 1.
func (s *stage) append(t *testing.T, ids ...int) {
	t.Helper()
	for _, i := range ids {
		err := s.Redis.XAdd(t.Context(),
			&redis.XAddArgs{
				Stream: outbox.StreamKey("orders", 1), ID: strconv.Itoa(i) + "-0",
				Values: []string{
					"id", fmt.Sprint(i), "aggregatetype", "order", "aggregateid", "1", "type", "t", "payload", "",
					"headers", "{}",
				},
			}).Err()
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (s *stage) look(t *testing.T) Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	st, err := ReadStatus(ctx, s.Servers, "orders")
	if err != nil {
		t.Fatal(err)
	}
	return st
}
