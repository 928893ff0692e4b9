package migrations

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/sluice-outbox/sluice/internal/names"
)

func TestNewRefuses(t *testing.T) {
	s := inMemory(t)
	for want, cfg := range map[string]Config{
		"outbox name":           {Shards: 1},
		"0 shards":              {Outbox: "o"},
		"1025 shards":           {Outbox: "o", Shards: MaxShards + 1},
		"is not a Kafka topic":  {Outbox: "o", Shards: 1, DeadLetterTopic: "a b"},
		"\"..\" is not a Kafka": {Outbox: "o", Shards: 1, DeadLetterTopic: ".."},
		"are reserved":          {Outbox: "o", Shards: 1, DeadLetterTopic: names.PositionsTopic("o")},
		"replication factor":    {Outbox: "o", Shards: 1, ReplicationFactor: -1},
		"factor 32768":          {Outbox: "o", Shards: 1, ReplicationFactor: 1 << 15},
	} {
		if _, err := New(s.redisClient(t), s.kafkaClient(t), cfg); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	if _, err := New(nil, s.kafkaClient(t), orders); err == nil {
		t.Error("without Redis")
	}
	if _, err := New(s.redisClient(t), nil, orders); err == nil {
		t.Error("without Kafka")
	}
}

// Every field of Config changes what a Migrator does. A new field fails this test until it has an
// effect here.
func TestEveryConfigFieldHasAnEffect(t *testing.T) {
	told := 0
	set := map[string]func(*Config){
		"Outbox":            func(c *Config) { c.Outbox = "others" },
		"Shards":            func(c *Config) { c.Shards = 5 },
		"DeadLetterTopic":   func(c *Config) { c.DeadLetterTopic = "letters" },
		"ReplicationFactor": func(c *Config) { c.ReplicationFactor = 3 },
		"RecreatePositions": func(c *Config) { c.RecreatePositions = true },
		"AdoptPositions":    func(c *Config) { c.AdoptPositions = true },
		"OnStep":            func(c *Config) { c.OnStep = func(Step) { told++ } },
	}
	// Three situations, in one of which each field matters.
	effect := func(cfg Config) string {
		s := inMemory(t)
		m := s.migrator(t, cfg)
		ctx := testContext(t)
		fresh, err := m.Plan(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		none := observed{streams: make([]streamState, cfg.Shards)}
		lost, found := none, none
		lost.layout = layoutState{exists: true, version: 2, format: 1, shards: cfg.Shards}
		found.topics = map[string]topicState{
			names.PositionsTopic(cfg.Outbox): {partitions: cfg.Shards, policy: "compact", records: true},
		}
		told = 0
		if err := migrate(ctx, m, 1); err != nil {
			t.Fatal(err)
		}
		return asJSON(t, []any{fresh, m.cfg.plan(lost, 2).Refused, m.cfg.plan(found, 2).Refused, told})
	}
	plain := effect(orders)
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		change := set[field.Name]
		if change == nil {
			t.Errorf("field %s is not tested", field.Name)
			continue
		}
		cfg := orders
		change(&cfg)
		if effect(cfg) == plain {
			t.Errorf("field %s has no effect", field.Name)
		}
	}
}

// min.insync.replicas follows the replication factor where that is given, else both are the
// broker's.
func TestDurability(t *testing.T) {
	for factor, want := range map[int]string{0: "", 1: "1", 2: "1", 3: "2", 4: "3", 5: "3"} {
		for _, p := range parts(Config{
			Outbox: "o", Shards: 1, DeadLetterTopic: "d",
			ReplicationFactor: factor,
		}, Newest) {
			if got := p.topic.settings["min.insync.replicas"]; p.kind == KindTopic && got != want {
				t.Errorf("%s with factor %d: %q, want %q", p.name, factor, got, want)
			}
		}
	}
}

// The parts of a version are a prefix of the next one's: what exists is never given up.
func TestVersionsOnlyAdd(t *testing.T) {
	cfg := Config{Outbox: "o", Shards: 3, DeadLetterTopic: "d"}
	if n := len(Versions()); n != Newest || Versions()[n-1].Number != Newest {
		t.Errorf("%d versions are described, the newest is %d", n, Newest)
	}
	for v := 1; v <= Newest; v++ {
		before, after := parts(cfg, v-1), parts(cfg, v)
		if len(after) <= len(before) && v != lanesVersion { // which rewrites what is there
			t.Errorf("version %d adds nothing", v)
		}
		for i := range before {
			if fmt.Sprint(before[i]) != fmt.Sprint(after[i]) {
				t.Errorf("version %d changes part %d", v, i)
			}
		}
	}
	names := map[string]bool{}
	for _, p := range parts(cfg, Newest) {
		if names[p.name] {
			t.Errorf("two parts are named %s", p.name)
		}
		names[p.name] = true
	}
}
