package migrations

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// Each obstacle is refused by plan and apply with advice, shows as drift where the layout has
// reached the version that it prevents, and is left as it is.
func TestRefusals(t *testing.T) {
	layout := names.LayoutKey(orders.Outbox)
	positions, letters := names.PositionsTopic(orders.Outbox), names.DeadLetterTopic(orders.Outbox)
	set := func(fields ...any) func(*testing.T, testEnv) {
		return func(t *testing.T, s testEnv) {
			mustMigrate(t, s.migrator(t, orders))
			s.redisClient(t).HSet(testContext(t), layout, fields...)
		}
	}
	replace := func(topic string, partitions int, settings map[string]string) func(*testing.T,
		testEnv) {
		return func(t *testing.T, s testEnv) {
			mustMigrate(t, s.migrator(t, orders))
			s.deleteTopic(t, topic)
			s.createTopic(t, topic, partitions, settings)
		}
	}
	compact := map[string]string{"cleanup.policy": "compact"}
	for _, c := range []struct {
		name    string
		prepare func(*testing.T, testEnv)
		want    Problem
		says    string // part of the finding or its fix
		drift   bool
	}{
		{
			"newer version", set("version", Newest+1), NewerVersion,
			"is at layout version 4; this build knows versions up to 3", true,
		},
		{"other format", set("format", 2), OtherFormat, "wire format 2", true},
		{
			"other shards", set("shards", 8), OtherShards,
			"the number of shards of an existing outbox cannot be changed", true,
		},
		{"no version", set("version", ""), UnreadableLayout, `field "version" is ""`, true},
		{"nonsense", set("shards", "many"), UnreadableLayout, `field "shards" is "many"`, true},
		{"layout key taken", func(t *testing.T, s testEnv) {
			s.redisClient(t).Set(testContext(t), layout, "x", 0)
		}, WrongType, "is not a hash", true},
		{"stream key taken", func(t *testing.T, s testEnv) {
			s.redisClient(t).LPush(testContext(t), outbox.StreamKey(orders.Outbox, 1), "x")
		}, WrongType, "is a list, not a stream", false},
		{"stream key replaced", func(t *testing.T, s testEnv) {
			mustMigrate(t, s.migrator(t, orders))
			s.redisClient(t).Set(testContext(t), outbox.StreamKey(orders.Outbox, 1), "x", 0)
		}, WrongType, "is a string, not a stream", true},
		{"more streams", func(t *testing.T, s testEnv) {
			s.redisClient(t).XAdd(testContext(t),
				&redis.XAddArgs{Stream: outbox.StreamKey(orders.Outbox, 2), Values: []any{"a", "b"}})
		}, OtherShards, "set shards to the number of its streams", true},
		{"positions partitions", func(t *testing.T, s testEnv) {
			s.createTopic(t, positions, 1, compact)
		}, WrongPartitions, "delete it and run this again", false},
		{
			"positions partitions changed", replace(positions, 3, compact), WrongPartitions,
			"do not delete it while it holds the positions", true,
		},
		{
			"positions policy", replace(positions, 2, nil), WrongPolicy,
			"cleanup.policy=delete, want compact", true,
		},
		{
			"positions also deleted", replace(positions, 2,
				map[string]string{"cleanup.policy": "compact,delete"}),
			WrongPolicy, "--topic sluice.orders.positions --add-config cleanup.policy=compact", true,
		},
		{"positions gone", func(t *testing.T, s testEnv) {
			mustMigrate(t, s.migrator(t, orders))
			s.deleteTopic(t, positions)
		}, PositionsLost, "a relay would not know its position", true},
		{"positions of others", func(t *testing.T, s testEnv) {
			s.createTopic(t, positions, 2, compact)
			s.produce(t, positions)
		}, PositionsFound, "--adopt-positions", false},
		{
			"dead letters partitions", replace(letters, 1, compact), WrongPartitions, "want at least 2",
			true,
		},
		{
			"dead letters policy", replace(letters, 2, map[string]string{"cleanup.policy": "delete"}),
			WrongPolicy, "dead letters that nobody", true,
		},
		{
			"dead letters size", replace(letters, 2,
				map[string]string{"cleanup.policy": "compact", "max.message.bytes": "1000"}),
			SmallMessages, "max.message.bytes=1000, want at least 589824", true,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := inMemory(t)
			c.prepare(t, s)
			before := s.snapshot(t, orders)
			m := s.migrator(t, orders)
			plan, err := m.Plan(testContext(t), 0)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]Problem{c.want}, problems(plan.Refused)); diff != "" {
				t.Fatal(diff)
			}
			if f := plan.Refused[0]; !strings.Contains(f.String()+" "+f.Fix, c.says) || f.Fix == "" {
				t.Errorf("the finding does not say %q: %s: %s", c.says, f, f.Fix)
			}
			var refused *RefusedError
			if err := m.Apply(testContext(t), plan); !errors.As(err, &refused) {
				t.Errorf("Apply: %v", err)
			}
			status, err := m.Status(testContext(t))
			if err != nil {
				t.Fatal(err)
			}
			want := []Problem{c.want}
			if !c.drift {
				want = nil
			}
			if diff := cmp.Diff(want, problems(status.Drift)); diff != "" {
				t.Errorf("drift: %s", diff)
			}
			if status.Current() {
				t.Error("Status says current")
			}
			if diff := cmp.Diff(before, s.snapshot(t, orders)); diff != "" {
				t.Errorf("something was changed: %s", diff)
			}
		})
	}
}

// All findings are reported at once.
func TestRefusalsTogether(t *testing.T) {
	s := inMemory(t)
	s.redisClient(t).Set(testContext(t), outbox.StreamKey(orders.Outbox, 0), "x", 0)
	s.createTopic(t, names.PositionsTopic(orders.Outbox), 2, nil)
	s.createTopic(t, names.DeadLetterTopic(orders.Outbox), 1, nil)
	plan, err := s.migrator(t, orders).Plan(testContext(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Problem{WrongType, WrongPolicy, WrongPartitions},
		problems(plan.Refused)); diff != "" {
		t.Error(diff)
	}
}

func TestRefusesOldRedis(t *testing.T) {
	s := inMemory(t)
	rdb := s.redisClient(t)
	rdb.AddHook(helloHook{"server", "redis", "version", "6.2.14"})
	m, err := New(rdb, s.kafkaClient(t), orders)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := m.Plan(testContext(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Problem{OldRedis}, problems(plan.Refused)); diff != "" {
		t.Error(diff)
	}
	if err := m.Apply(testContext(t), plan); err == nil {
		t.Error("applied")
	}
}

// helloHook answers HELLO with a list of names and values, as a server with RESP2 does.
type helloHook []any

func (h helloHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h helloHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h helloHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if reply, ok := cmd.(*redis.Cmd); ok && strings.EqualFold(cmd.Name(), "hello") {
			reply.SetVal([]any(h))
			return nil
		}
		return next(ctx, cmd)
	}
}

func TestRefusesKafkaWithoutTransactions(t *testing.T) {
	s := inMemory(t, kfake.MaxVersions(kversion.V0_10_2()))
	m := s.migrator(t, orders)
	plan, err := m.Plan(testContext(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Problem{NoTransactions}, problems(plan.Refused)); diff != "" {
		t.Error(diff)
	}
	if err := migrate(testContext(t), m, 1); err != nil {
		t.Errorf("version 1 needs no Kafka: %v", err)
	}
}

// A server that cannot be asked is an error, not a finding and not an assumption.
func TestUnreachableServers(t *testing.T) {
	s := inMemory(t)
	nowhere := testEnv{
		redis:   &redis.UniversalOptions{Addrs: []string{"127.0.0.1:1"}, MaxRetries: -1},
		brokers: []string{"127.0.0.1:1"},
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, m := range map[string]func() (*Migrator, error){
		"Redis": func() (*Migrator, error) {
			return New(nowhere.redisClient(t), s.kafkaClient(t), orders)
		},
		"Kafka": func() (*Migrator, error) {
			return New(s.redisClient(t), nowhere.kafkaClient(t), orders)
		},
	} {
		m, err := m()
		if err != nil {
			t.Fatal(err)
		}
		asked := t.Context()
		if name == "Kafka" {
			asked = ctx // a Kafka client goes on trying until its context ends
		}
		if plan, err := m.Plan(asked, 0); err == nil {
			t.Errorf("%s: %s", name, asJSON(t, plan))
		}
	}
}
