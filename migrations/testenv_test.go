package migrations

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/outbox"
)

// testEnv is the pair of servers that a test plays on: in memory, or real ones.
type testEnv struct {
	redis   *redis.UniversalOptions // several addresses: a cluster
	brokers []string
}

// inMemory starts substitutes of both servers.
func inMemory(t testing.TB, opts ...kfake.Opt) testEnv {
	t.Helper()
	r := miniredis.RunT(t)
	k, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return testEnv{redis: &redis.UniversalOptions{Addrs: []string{r.Addr()}}, brokers: k.ListenAddrs()}
}

func (s testEnv) redisClient(t testing.TB) redis.UniversalClient {
	t.Helper()
	options := *s.redis
	client := redis.NewUniversalClient(&options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func (s testEnv) kafkaClient(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(s.brokers...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// migrator returns a Migrator with clients of its own, as another process would have.
func (s testEnv) migrator(t testing.TB, cfg Config) *Migrator {
	t.Helper()
	m, err := New(s.redisClient(t), s.kafkaClient(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// migrate plans and applies.
func migrate(ctx context.Context, m *Migrator, target int) error {
	plan, err := m.Plan(ctx, target)
	if err != nil {
		return err
	}
	return m.Apply(ctx, plan)
}

func mustMigrate(t testing.TB, m *Migrator) {
	t.Helper()
	if err := migrate(testContext(t), m, 0); err != nil {
		t.Fatal(err)
	}
}

// mustBeCurrent asserts that the newest version is reached, without drift, and that nothing is left
// to do.
func mustBeCurrent(t testing.TB, m *Migrator) {
	t.Helper()
	status, err := m.Status(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if !status.Current() {
		t.Fatalf("not current: %s", asJSON(t, status))
	}
	plan, err := m.Plan(testContext(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	if !plan.Empty() {
		t.Fatalf("something is left to do: %s", asJSON(t, plan))
	}
}

// snapshot describes everything that the outbox has on both servers, without what differs from one
// run to the next: the time of creation and the outbox's name.
func (s testEnv) snapshot(t testing.TB, cfg Config) string {
	t.Helper()
	ctx := testContext(t)
	rdb, kafka := s.redisClient(t), kadm.NewClient(s.kafkaClient(t))
	var b strings.Builder

	for _, key := range keysOf(t, rdb, cfg) {
		switch kind := rdb.Type(ctx, key).Val(); kind {
		case "hash":
			fields := rdb.HGetAll(ctx, key).Val()
			delete(fields, outbox.LayoutFieldCreated)
			fmt.Fprintln(&b, key, kind, fields)
		case "stream":
			groups := rdb.XInfoGroups(ctx, key).Val()
			fmt.Fprintln(&b, key, kind, rdb.XLen(ctx, key).Val(), groups)
		default:
			fmt.Fprintln(&b, key, kind)
		}
	}

	topics, err := kafka.ListTopics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range topics.Sorted() {
		if !strings.Contains(topic.Topic, cfg.Outbox) {
			continue
		}
		configs, err := kafka.DescribeTopicConfigs(ctx, topic.Topic)
		if err != nil {
			t.Fatal(err)
		}
		settings := map[string]string{}
		for _, p := range parts(s.migrator(t, cfg).cfg, Newest) {
			for _, c := range configs[0].Configs {
				if _, ours := p.topic.settings[c.Key]; ours && p.name == topic.Topic {
					settings[c.Key] = c.MaybeValue()
				}
			}
		}
		fmt.Fprintln(&b, topic.Topic, len(topic.Partitions), topic.Partitions.NumReplicas(), settings)
	}
	return strings.ReplaceAll(b.String(), cfg.Outbox, "OUTBOX")
}

// keysOf lists the keys of an outbox, on every node of a cluster.
func keysOf(t testing.TB, rdb redis.UniversalClient, cfg Config) []string {
	t.Helper()
	var mu sync.Mutex
	var all []string
	list := func(ctx context.Context, node *redis.Client) error {
		keys, err := node.Keys(ctx, "sluice:{"+cfg.Outbox+"*").Result()
		mu.Lock()
		defer mu.Unlock()
		all = append(all, keys...)
		return err
	}
	var err error
	switch rdb := rdb.(type) {
	case *redis.ClusterClient:
		err = rdb.ForEachMaster(testContext(t), list)
	case *redis.Client:
		err = list(testContext(t), rdb)
	}
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// produce writes one record to a topic's partition 0.
func (s testEnv) produce(t testing.TB, topic string) {
	t.Helper()
	client := s.kafkaClient(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	record := &kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte("v")}
	if err := client.ProduceSync(testContext(t), record).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// createTopic makes a topic as another program would.
func (s testEnv) createTopic(t testing.TB, name string, partitions int,
	settings map[string]string,
) {
	t.Helper()
	values := make(map[string]*string)
	for key, value := range settings {
		values[key] = &value
	}
	client := s.kafkaClient(t)
	if _, err := kadm.NewClient(client).CreateTopic(testContext(t), int32(partitions), 1, values,
		name); err != nil {
		t.Fatal(err)
	}
	awaitPartitions(t, client, name, partitions)
}

func (s testEnv) deleteTopic(t testing.TB, name string) {
	t.Helper()
	client := s.kafkaClient(t)
	if _, err := kadm.NewClient(client).DeleteTopic(testContext(t), name); err != nil {
		t.Fatal(err)
	}
	awaitPartitions(t, client, name, 0)
}

// awaitPartitions waits until the broker has learnt what the controller did: a topic has so many
// partitions with leaders, or does not exist.
func awaitPartitions(t testing.TB, client *kgo.Client, name string, want int) {
	t.Helper()
	for ctx := testContext(t); ; {
		topic, found, err := readPartitions(ctx, client, name)
		if err != nil {
			t.Fatal(err)
		}
		if found == (want > 0) && topic.led == want {
			return
		}
		select {
		case <-time.After(firstLook):
		case <-ctx.Done():
			t.Fatalf("topic %s has %d partitions, want %d", name, topic.led, want)
		}
	}
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// problems lists what findings complain of.
func problems(findings []Finding) []Problem {
	var all []Problem
	for _, f := range findings {
		all = append(all, f.Problem)
	}
	return all
}
