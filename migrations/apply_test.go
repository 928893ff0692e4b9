package migrations

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

var orders = Config{Outbox: "orders", Shards: 2}

func TestApplyCreatesTheLayout(t *testing.T) {
	s := inMemory(t)
	m := s.migrator(t, orders)
	mustMigrate(t, m)
	mustBeCurrent(t, m)

	want := `sluice:{OUTBOX:0} stream 0 [{sluice 0 0 0 0 0}]
sluice:{OUTBOX:1} stream 0 [{sluice 0 0 0 0 0}]
sluice:{OUTBOX}:layout hash map[format:1 shards:2 version:3]
sluice.OUTBOX.dlq 2 1 map[cleanup.policy:compact max.message.bytes:1048588]
sluice.OUTBOX.positions 2 1 map[cleanup.policy:compact delete.retention.ms:60000 segment.bytes:1048576]
`
	if diff := cmp.Diff(want, s.snapshot(t, orders)); diff != "" {
		t.Error(diff)
	}
	layout, err := outbox.ReadLayout(testContext(t), s.redisClient(t), orders.Outbox)
	if err != nil || layout.Version != Newest || layout.Shards != 2 || layout.Created.IsZero() {
		t.Errorf("writers read %+v, %v", layout, err)
	}
}

func TestApplyOneVersionAtATime(t *testing.T) {
	s := inMemory(t)
	unreachable, err := kgo.NewClient(kgo.SeedBrokers("127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unreachable.Close)
	first, err := New(s.redisClient(t), unreachable, orders)
	if err != nil {
		t.Fatal(err)
	}
	if err := migrate(testContext(t), first, 1); err != nil {
		t.Fatalf("version 1 needs no Kafka: %v", err)
	}
	if status, err := first.Status(testContext(t)); err != nil || status.Version != 1 ||
		len(status.Drift) != 0 {
		t.Fatalf("%+v, %v", status, err)
	}

	m := s.migrator(t, orders)
	if err := migrate(testContext(t), m, Newest); err != nil {
		t.Fatal(err)
	}
	mustBeCurrent(t, m)
	if _, err := m.Plan(testContext(t), 1); !errors.Is(err, ErrNoWayBack) {
		t.Errorf("back to 1: %v", err)
	}
	for _, target := range []int{-1, Newest + 1} {
		if _, err := m.Plan(testContext(t), target); !errors.Is(err, ErrUnknownVersion) {
			t.Errorf("target %d: %v", target, err)
		}
	}
}

func TestApplyKeepsWhatIsThere(t *testing.T) {
	s := inMemory(t)
	ctx, rdb := testContext(t), s.redisClient(t)
	key := outbox.StreamKey(orders.Outbox, 0)
	rdb.XAdd(ctx, &redis.XAddArgs{Stream: key, Values: []any{"id", "1"}})
	s.createTopic(t, names.DeadLetterTopic(orders.Outbox), 5,
		map[string]string{"cleanup.policy": "compact"})

	m := s.migrator(t, orders)
	plan, err := m.Plan(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	if step := plan.Steps[1]; step.Kind != KindGroup || step.Action != Create {
		t.Errorf("a stream without a group: %+v", step)
	}
	if err := m.Apply(ctx, plan); err != nil {
		t.Fatal(err)
	}
	mustBeCurrent(t, m)
	if n := rdb.XLen(ctx, key).Val(); n != 1 {
		t.Errorf("%d entries", n)
	}
}

// A group that exists has a position. Applying a plan that was made before it existed must not move
// it.
func TestApplyNeverMovesAGroup(t *testing.T) {
	s := inMemory(t)
	ctx, rdb := testContext(t), s.redisClient(t)
	m := s.migrator(t, orders)
	stale, err := m.Plan(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	mustMigrate(t, m)
	key := outbox.StreamKey(orders.Outbox, 1)
	rdb.XAdd(ctx, &redis.XAddArgs{Stream: key, ID: "5-1", Values: []any{"id", "1"}})
	rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: names.ConsumerGroup, Consumer: "c",
		Streams: []string{key, ">"},
	})
	before := s.snapshot(t, orders)
	if !strings.Contains(before, "5-1") {
		t.Fatalf("the group did not move: %s", before)
	}
	if err := m.Apply(ctx, stale); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, s.snapshot(t, orders)); diff != "" {
		t.Error(diff)
	}
}

func TestApplyAPlanFromJSON(t *testing.T) {
	s := inMemory(t)
	m := s.migrator(t, orders)
	plan, err := m.Plan(testContext(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	var read Plan
	if err := json.Unmarshal([]byte(asJSON(t, plan)), &read); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plan, read); diff != "" {
		t.Error(diff)
	}
	if err := m.Apply(testContext(t), read); err != nil {
		t.Fatal(err)
	}
	mustBeCurrent(t, m)
}

func TestApplyTellsEachStep(t *testing.T) {
	var told []Step
	cfg := orders
	cfg.OnStep = func(s Step) { told = append(told, s) }
	m := inMemory(t).migrator(t, cfg)
	plan, err := m.Plan(testContext(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Apply(testContext(t), plan); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plan.Steps, told); diff != "" {
		t.Error(diff)
	}
}

func TestApplyRefusesAForeignPlan(t *testing.T) {
	s := inMemory(t)
	m := s.migrator(t, orders)
	plan, err := m.Plan(testContext(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	before := s.snapshot(t, orders)
	for name, change := range map[string]func(*Plan){
		"outbox":       func(p *Plan) { p.Outbox = "others" },
		"shards":       func(p *Plan) { p.Shards = 3 },
		"version":      func(p *Plan) { p.To = Newest + 1 },
		"part":         func(p *Plan) { p.Steps[0].Name = "accounts" },
		"kind":         func(p *Plan) { p.Steps[0].Kind = "table" },
		"kind of part": func(p *Plan) { p.Steps[0].Kind = KindTopic },
		"action":       func(p *Plan) { p.Steps[0].Action = "delete" },
	} {
		foreign := plan
		foreign.Steps = slices.Clone(plan.Steps)
		change(&foreign)
		if err := m.Apply(testContext(t), foreign); err == nil {
			t.Errorf("another %s was accepted", name)
		}
	}
	if diff := cmp.Diff(before, s.snapshot(t, orders)); diff != "" {
		t.Error(diff)
	}
}

// A topic of the wrong shape that appears between plan and apply is found before the version is
// recorded.
func TestApplyJudgesWhatAppeared(t *testing.T) {
	s := inMemory(t)
	cfg := orders
	cfg.OnStep = func(step Step) {
		if step.Action == Record && step.Version == 1 {
			s.createTopic(t, names.PositionsTopic(orders.Outbox), 1, nil)
		}
	}
	m := s.migrator(t, cfg)
	var refused *RefusedError
	if err := migrate(testContext(t), m, 0); !errors.As(err, &refused) ||
		refused.Findings[0].Problem != WrongPartitions {
		t.Fatalf("got %v", err)
	}
	if status, err := m.Status(testContext(t)); err != nil || status.Version != 1 {
		t.Errorf("%+v, %v", status, err)
	}
}

func TestApplyNoticesThatTheLayoutVanished(t *testing.T) {
	s := inMemory(t)
	rdb := s.redisClient(t)
	cfg := orders
	cfg.OnStep = func(step Step) {
		if step.Kind == KindLayout {
			rdb.Del(testContext(t), names.LayoutKey(orders.Outbox))
		}
	}
	if err := migrate(testContext(t), s.migrator(t, cfg), 0); !errors.Is(err, ErrOvertaken) {
		t.Errorf("got %v", err)
	}
}

func TestApplySaysWhatKafkaSaid(t *testing.T) {
	s := inMemory(t, kfake.NumBrokers(1))
	cfg := orders
	cfg.ReplicationFactor = 3
	err := migrate(testContext(t), s.migrator(t, cfg), 0)
	if err == nil || !strings.Contains(err.Error(), "INVALID_REPLICATION_FACTOR") ||
		!strings.Contains(err.Error(), "sluice.orders.positions") {
		t.Errorf("got %v", err)
	}
	cfg.ReplicationFactor = 1
	m := s.migrator(t, cfg)
	mustMigrate(t, m)
	mustBeCurrent(t, m)
}
