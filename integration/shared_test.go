//go:build integration

package integration_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/integration"
)

func TestMain(m *testing.M) { integration.Main(m) }

func TestSharedServersServe(t *testing.T) {
	t.Parallel()
	s, ctx, prefix := integration.Servers(t), integration.Context(t, time.Minute),
		integration.Prefix(t)
	t.Logf("%s, %s", s.Redis.Version, s.Kafka.Version)
	if again := integration.Servers(t); again != s {
		t.Fatal("the second call gave other servers")
	}
	r := integration.RedisClient(t, s.Redis, nil)
	if err := r.Set(ctx, prefix, "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	k := integration.KafkaClient(t, s.Kafka, kgo.AllowAutoTopicCreation())
	if err := k.ProduceSync(ctx, &kgo.Record{
		Topic: prefix,
		Value: []byte("x"),
	}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}
