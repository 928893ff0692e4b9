package migrations

import (
	"errors"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// A part that a reached version has and that was lost shows as drift, is planned as a repair
// without a change of version, and is there again afterwards.
func TestRepair(t *testing.T) {
	stream, letters := outbox.StreamKey(orders.Outbox, 1), names.DeadLetterTopic(orders.Outbox)
	for name, c := range map[string]struct {
		lose func(*testing.T, testEnv)
		want Step
		says string
	}{
		"stream": {
			func(t *testing.T, s testEnv) { s.redisClient(t).Del(testContext(t), stream) },
			Step{Version: 1, Store: Redis, Action: Create, Kind: KindStream, Name: stream, Repair: true},
			"the shard halts at its missing position",
		},
		"group": {
			func(t *testing.T, s testEnv) {
				s.redisClient(t).XGroupDestroy(testContext(t), stream, names.ConsumerGroup)
			},
			Step{Version: 1, Store: Redis, Action: Create, Kind: KindGroup, Name: stream, Repair: true},
			"nothing was delivered from the stream yet",
		},
		"dead-letter topic": {
			func(t *testing.T, s testEnv) { s.deleteTopic(t, letters) },
			Step{Version: 2, Store: Kafka, Action: Create, Kind: KindTopic, Name: letters, Repair: true},
			"dead letters that were in it do not come back",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := inMemory(t)
			m := s.migrator(t, orders)
			mustMigrate(t, m)
			c.lose(t, s)
			status, err := m.Status(testContext(t))
			if err != nil || len(status.Drift) != 1 || status.Drift[0].Problem != Missing ||
				status.Drift[0].Name != c.want.Name {
				t.Fatalf("%s, %v", asJSON(t, status), err)
			}
			checkRepair(t, m, c.want, c.says)
			mustBeCurrent(t, m)
		})
	}
}

// checkRepair asserts that a plan consists of one repair, and applies it.
func checkRepair(t *testing.T, m *Migrator, want Step, says string) {
	t.Helper()
	plan, err := m.Plan(testContext(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	var todo []Step
	for _, s := range plan.Steps {
		if s.Action != Keep {
			todo = append(todo, s)
		}
	}
	if len(todo) != 1 || plan.From != Newest || plan.To != Newest {
		t.Fatalf("%s", asJSON(t, plan))
	}
	detail := todo[0].Detail
	todo[0].Detail = ""
	if todo[0] != want || !strings.Contains(detail, says) {
		t.Errorf("got %+v, %s", todo[0], detail)
	}
	if err := m.Apply(testContext(t), plan); err != nil {
		t.Fatal(err)
	}
}

// The group of a stream that has had entries is how far they were delivered, and not a migration's
// to guess.
func TestGroupOfAUsedStreamIsNotCreated(t *testing.T) {
	s := inMemory(t)
	ctx, rdb := testContext(t), s.redisClient(t)
	m := s.migrator(t, orders)
	mustMigrate(t, m)
	key := outbox.StreamKey(orders.Outbox, 1)
	id := rdb.XAdd(ctx, &redis.XAddArgs{Stream: key, Values: []any{"a", "b"}}).Val()
	rdb.XGroupDestroy(ctx, key, names.ConsumerGroup)
	rdb.XDel(ctx, key, id) // that it is empty now does not matter

	plan, err := m.Plan(ctx, 0)
	if err != nil || !plan.Empty() ||
		!strings.Contains(strings.Join(plan.Notes, "\n"), key+": has no consumer group") {
		t.Errorf("%s, %v", asJSON(t, plan), err)
	}
	if err := m.Apply(ctx, plan); err != nil {
		t.Error(err)
	}
	if groups := rdb.XInfoGroups(ctx, key).Val(); len(groups) > 0 {
		t.Errorf("%+v was created", groups)
	}
	status, err := m.Status(ctx)
	if err != nil || len(status.Drift) != 1 || status.Drift[0].Problem != Missing ||
		!strings.Contains(status.Drift[0].Fix, "sluice resume") {
		t.Errorf("%s, %v", asJSON(t, status), err)
	}
}

func TestRepairOfPositionsNeedsConsent(t *testing.T) {
	s := inMemory(t)
	mustMigrate(t, s.migrator(t, orders))
	positions := names.PositionsTopic(orders.Outbox)
	s.deleteTopic(t, positions)

	var refused *RefusedError
	if err := migrate(testContext(t), s.migrator(t, orders), 0); !errors.As(err, &refused) {
		t.Fatalf("without consent: %v", err)
	}
	consenting := orders
	consenting.RecreatePositions = true
	checkRepair(t, s.migrator(t, consenting),
		Step{Version: 2, Store: Kafka, Action: Create, Kind: KindTopic, Name: positions, Repair: true},
		"every shard's position must be set by hand")
	mustBeCurrent(t, s.migrator(t, orders))
}

// Redis lost everything, Kafka did not.
func TestAdoptPositions(t *testing.T) {
	s := inMemory(t)
	mustMigrate(t, s.migrator(t, orders))
	s.produce(t, names.PositionsTopic(orders.Outbox))
	s.redisClient(t).FlushAll(testContext(t))

	var refused *RefusedError
	if err := migrate(testContext(t), s.migrator(t, orders), 0); !errors.As(err, &refused) {
		t.Fatalf("without consent: %v", err)
	}
	consenting := orders
	consenting.AdoptPositions = true
	mustMigrate(t, s.migrator(t, consenting))
	mustBeCurrent(t, s.migrator(t, orders))
}

// The dead-letter topic of the configuration was changed after the layout was made.
func TestAnotherDeadLetterTopic(t *testing.T) {
	s := inMemory(t)
	mustMigrate(t, s.migrator(t, orders))
	changed := orders
	changed.DeadLetterTopic = "letters"
	m := s.migrator(t, changed)
	mustMigrate(t, m)
	mustBeCurrent(t, m)
	mustBeCurrent(t, s.migrator(t, orders))
}

// The layout hash alone was lost: streams and groups are kept as they are.
func TestLayoutHashLost(t *testing.T) {
	s := inMemory(t)
	ctx, rdb := testContext(t), s.redisClient(t)
	mustMigrate(t, s.migrator(t, orders))
	key := outbox.StreamKey(orders.Outbox, 0)
	rdb.XAdd(ctx, &redis.XAddArgs{Stream: key, ID: "7-0", Values: []any{"a", "b"}})
	rdb.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: names.ConsumerGroup, Consumer: "c",
		Streams: []string{key, ">"},
	})
	before := s.snapshot(t, orders)
	rdb.Del(ctx, names.LayoutKey(orders.Outbox))
	mustMigrate(t, s.migrator(t, orders))
	if after := s.snapshot(t, orders); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}
