//go:build integration

package migrations

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/process"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// childEnv makes this test program a migration that can be killed: "outbox redis kafka[,kafka]".
const childEnv = "SLUICE_TEST_MIGRATION"

func TestMain(m *testing.M) {
	if job := os.Getenv(childEnv); job != "" {
		if err := childMigration(strings.Fields(job)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	integration.Main(m)
}

func childMigration(job []string) error {
	rdb := redis.NewClient(&redis.Options{Addr: job[1]})
	defer rdb.Close()
	kafka, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(job[2], ",")...))
	if err != nil {
		return err
	}
	defer kafka.Close()
	m, err := New(rdb, kafka, Config{Outbox: job[0], Shards: 2})
	if err != nil {
		return err
	}
	return migrate(context.Background(), m, 0)
}

// realServers is the testEnv of the servers that all tests share.
func realServers(t *testing.T) testEnv {
	t.Helper()
	s := integration.Servers(t)
	o := s.Redis.Options()
	return testEnv{
		redis: &redis.UniversalOptions{
			Addrs: []string{o.Addr}, DB: o.DB, Username: o.Username,
			Password: o.Password,
		},
		brokers: s.Kafka.Addrs(),
	}
}

func prefixed(t *testing.T) func() string {
	return func() string { return integration.Prefix(t) }
}

func TestRealKilledAtAnyCall(t *testing.T) { killedAtAnyCall(t, realServers(t), prefixed(t)) }

func TestRealTwoAtOnceStepByStep(t *testing.T) {
	twoAtOnceStepByStep(t, realServers(t), prefixed(t))
}

func TestRealManyAtOnce(t *testing.T) { manyAtOnce(t, realServers(t), prefixed(t)) }

func TestRealDifferentShardsAtOnce(t *testing.T) {
	differentShardsAtOnce(t, realServers(t), prefixed(t))
}

// What is created on real servers, with the settings as the broker reports them.
func TestRealLayout(t *testing.T) {
	s := realServers(t)
	cfg := Config{Outbox: integration.Prefix(t), Shards: 2, ReplicationFactor: 1}
	m := s.migrator(t, cfg)
	plan, err := m.Plan(testContext(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Notes) > 0 {
		t.Errorf("a real server tells its version: %v", plan.Notes)
	}
	if err := m.Apply(testContext(t), plan); err != nil {
		t.Fatal(err)
	}
	mustBeCurrent(t, m)
	want := `sluice:{OUTBOX:0} stream 0 [{sluice 0 0 0-0 0 0}]
sluice:{OUTBOX:1} stream 0 [{sluice 0 0 0-0 0 0}]
sluice:{OUTBOX}:layout hash map[format:1 shards:2 version:3]
sluice.OUTBOX.dlq 2 1 map[cleanup.policy:compact max.message.bytes:1048588 min.insync.replicas:1]
sluice.OUTBOX.positions 2 1 map[cleanup.policy:compact delete.retention.ms:60000 min.insync.replicas:1 segment.bytes:1048576]
`
	if got := s.snapshot(t, cfg); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Lost parts and names in use, as real brokers show them.
func TestRealRepair(t *testing.T) {
	s := realServers(t)
	cfg := Config{Outbox: integration.Prefix(t), Shards: 2}
	positions := names.PositionsTopic(cfg.Outbox)
	m := s.migrator(t, cfg)
	mustMigrate(t, m)

	if err := s.redisClient(t).XGroupDestroy(testContext(t), outbox.StreamKey(cfg.Outbox, 0),
		names.ConsumerGroup).Err(); err != nil {
		t.Fatal(err)
	}
	s.deleteTopic(t, names.DeadLetterTopic(cfg.Outbox))
	mustMigrate(t, m)
	mustBeCurrent(t, m)

	rdb, used := s.redisClient(t), outbox.StreamKey(cfg.Outbox, 1)
	rdb.XAdd(testContext(t), &redis.XAddArgs{Stream: used, Values: []any{"a", "b"}})
	rdb.XTrimMaxLen(testContext(t), used, 0)
	rdb.XGroupDestroy(testContext(t), used, names.ConsumerGroup)
	mustMigrate(t, m)
	if status, err := m.Status(testContext(t)); err != nil || len(status.Drift) != 1 {
		t.Errorf("group of a used stream: %s, %v", asJSON(t, status), err)
	}
	rdb.XGroupCreate(testContext(t), used, names.ConsumerGroup, "$")
	mustBeCurrent(t, m)

	refused := func(m *Migrator, want Problem) {
		t.Helper()
		var refused *RefusedError
		if err := migrate(testContext(t), m, 0); !errors.As(err, &refused) ||
			refused.Findings[0].Problem != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	s.deleteTopic(t, positions)
	refused(m, PositionsLost)
	recreate, adopt := cfg, cfg
	recreate.RecreatePositions, adopt.AdoptPositions = true, true
	mustMigrate(t, s.migrator(t, recreate))
	mustBeCurrent(t, m)

	s.produce(t, positions)
	for _, key := range keysOf(t, rdb, cfg) {
		if err := rdb.Del(testContext(t), key).Err(); err != nil {
			t.Fatal(err)
		}
	}
	refused(m, PositionsFound)
	mustMigrate(t, s.migrator(t, adopt))
	mustBeCurrent(t, m)

	s.deleteTopic(t, positions)
	s.createTopic(t, positions, 3, map[string]string{"cleanup.policy": "compact"})
	refused(m, WrongPartitions)
	s.deleteTopic(t, positions)
	s.createTopic(t, positions, 2, map[string]string{"cleanup.policy": "compact,delete"})
	refused(m, WrongPolicy)
}

// The lag of a group is a number from its first moment on, also where the stream was there before
// and was trimmed.
func TestRealLag(t *testing.T) {
	s := realServers(t)
	ctx, rdb := testContext(t), s.redisClient(t)
	cfg := Config{Outbox: integration.Prefix(t), Shards: 2}
	trimmed, fresh := outbox.StreamKey(cfg.Outbox, 0), outbox.StreamKey(cfg.Outbox, 1)
	for range 5 {
		rdb.XAdd(ctx, &redis.XAddArgs{Stream: trimmed, Values: []any{"a", "b"}})
	}
	rdb.XTrimMaxLen(ctx, trimmed, 3)
	mustMigrate(t, s.migrator(t, cfg))
	rdb.XAdd(ctx, &redis.XAddArgs{Stream: fresh, Values: []any{"a", "b"}})
	for key, want := range map[string]int64{trimmed: 3, fresh: 1} {
		groups, err := rdb.XInfoGroups(ctx, key).Result()
		if err != nil || len(groups) != 1 || groups[0].Lag != want {
			t.Errorf("%s: %+v, %v; want a lag of %d", key, groups, err, want)
		}
	}
}

// A process that is really killed, at moments spread over its run.
func TestRealKilledProcess(t *testing.T) {
	s := realServers(t)
	if s.redis.Password != "" {
		t.Fatal("this test gives the child no password: use a Redis without one")
	}
	random := integration.Seed(t)
	reference := Config{Outbox: integration.Prefix(t), Shards: 2}
	begin := time.Now()
	if err := child(t, s, reference.Outbox).Wait(testContext(t)); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(begin)
	want := s.snapshot(t, reference)
	for range 15 {
		cfg := Config{Outbox: integration.Prefix(t), Shards: 2}
		p := child(t, s, cfg.Outbox)
		select {
		case <-time.After(time.Duration(random.Int64N(int64(whole)))):
		case <-p.Done():
		}
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := s.goesOn(t, cfg, want); err != nil {
			t.Error(err)
		}
	}
}

func child(t *testing.T, s testEnv, name string) *process.Process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := process.Start(process.Command{
		Path: self,
		Env: []string{childEnv + "=" + name + " " + s.redis.Addrs[0] + " " +
			strings.Join(s.brokers, ",")},
	})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, p)
	return p
}

// On a cluster each stream and the layout have slots of their own; a migration touches one key a
// command.
func TestRealCluster(t *testing.T) {
	cluster, err := servers.StartRedisCluster(integration.Context(t, time.Minute),
		servers.RedisOptions{})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, cluster)
	s := realServers(t)
	s.redis = &redis.UniversalOptions{Addrs: cluster.Options().Addrs}
	cfg := Config{Outbox: integration.Prefix(t), Shards: 12}
	for i, err := range race(t, s, cfg, cfg) {
		if err != nil {
			t.Errorf("migration %d: %v", i, err)
		}
	}
	m := s.migrator(t, cfg)
	mustBeCurrent(t, m)
	if n := len(keysOf(t, s.redisClient(t), cfg)); n != cfg.Shards+1 {
		t.Errorf("%d keys", n)
	}
	if err := s.redisClient(t).Del(testContext(t), outbox.StreamKey(cfg.Outbox, 7)).Err(); err != nil {
		t.Fatal(err)
	}
	mustMigrate(t, m)
	mustBeCurrent(t, m)
}

// Three brokers: the topics are replicated, every broker knows them when Apply returns, and one
// broker that is down does not hinder.
func TestRealReplicatedTopics(t *testing.T) {
	kafka, err := servers.StartKafka(integration.Context(t, 3*time.Minute),
		servers.KafkaOptions{Brokers: 3})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, kafka)
	s := realServers(t)
	s.brokers = kafka.Addrs()
	cfg := Config{Outbox: integration.Prefix(t), Shards: 6, ReplicationFactor: 3}
	for i, err := range race(t, s, cfg, cfg, cfg) {
		if err != nil {
			t.Errorf("migration %d: %v", i, err)
		}
	}
	for _, seed := range kafka.Addrs() {
		one := s
		one.brokers = []string{seed}
		mustBeCurrent(t, one.migrator(t, cfg))
	}
	for _, want := range []string{
		"positions 6 3 map[cleanup.policy:compact delete.retention.ms:60000 min.insync.replicas:2 " +
			"segment.bytes:1048576]",
		"dlq 6 3 map[cleanup.policy:compact max.message.bytes:1048588 min.insync.replicas:2]",
	} {
		if got := s.snapshot(t, cfg); !strings.Contains(got, want) {
			t.Errorf("%s\nlacks %s", got, want)
		}
	}

	if err := kafka.Brokers[2].Kill(); err != nil {
		t.Fatal(err)
	}
	next := cfg
	next.Outbox += "-next"
	next.ReplicationFactor = 2
	if err := migrate(testContext(t), s.migrator(t, next), 0); err != nil {
		t.Errorf("with a broker down: %v", err)
	}
	mustBeCurrent(t, s.migrator(t, cfg))
}

// A user who may do what the migrator needs and nothing else. The version is learnt although INFO
// is forbidden.
func TestRealRedisUser(t *testing.T) {
	r, err := servers.StartRedis(integration.Context(t, time.Minute), servers.RedisOptions{})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, r)
	s := realServers(t)
	s.redis = &redis.UniversalOptions{Addrs: []string{r.Addr}}
	cfg := Config{Outbox: integration.Prefix(t), Shards: 2}
	admin := s.redisClient(t)
	rules := []string{
		"on", ">secret", "~sluice:{" + cfg.Outbox + "*", "+hgetall", "+type", "+xinfo|groups",
		"+xinfo|stream", "+xgroup|create",
		"+eval", "+evalsha", "+hmget", "+exists", "+hset",
	}
	if err := admin.ACLSetUser(testContext(t), "migrator", rules...).Err(); err != nil {
		t.Fatal(err)
	}
	user := s
	user.redis = &redis.UniversalOptions{
		Addrs: []string{r.Addr}, Username: "migrator",
		Password: "secret",
	}
	m := user.migrator(t, cfg)
	plan, err := m.Plan(testContext(t), 0)
	if err != nil || len(plan.Notes) > 0 {
		t.Fatalf("%v, %v", plan.Notes, err)
	}
	if err := m.Apply(testContext(t), plan); err != nil {
		t.Fatal(err)
	}
	mustBeCurrent(t, m)

	other := cfg
	other.Outbox = "others"
	if err := migrate(testContext(t), user.migrator(t, other), 0); err == nil ||
		!strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("another outbox: %v", err)
	}
}

// Names that Kafka takes for the same: its own explanation reaches the user.
func TestRealCollidingNames(t *testing.T) {
	s := realServers(t)
	name := integration.Prefix(t)
	mustMigrate(t, s.migrator(t, Config{Outbox: name + ".a", Shards: 1}))
	err := migrate(testContext(t), s.migrator(t, Config{Outbox: name + "_a", Shards: 1}), 0)
	var refused *RefusedError
	if err == nil || errors.As(err, &refused) ||
		!strings.Contains(err.Error(), "collides with existing topic") {
		t.Errorf("got %v", err)
	}
}
