package migrations

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/outbox"
)

// The tests of this file are functions of a testEnv: here they run in memory, and against real
// servers with the tag integration.

func TestKilledAtAnyCall(t *testing.T) { killedAtAnyCall(t, inMemory(t), named("killed")) }

func TestTwoAtOnceStepByStep(t *testing.T) {
	twoAtOnceStepByStep(t, inMemory(t), named("stepwise"))
}

func TestManyAtOnce(t *testing.T) { manyAtOnce(t, inMemory(t), named("many")) }

func TestDifferentShardsAtOnce(t *testing.T) {
	differentShardsAtOnce(t, inMemory(t), named("shards"))
}

// named makes names of outboxes that no other run uses.
func named(prefix string) func() string {
	n := 0
	return func() string {
		n++
		return prefix + "-" + string(rune('a'+n/26/26%26)) + string(rune('a'+n/26%26)) +
			string(rune('a'+n%26))
	}
}

// killedAtAnyCall lets a migration die at its N-th call to either server, for every N, the request
// lost and the reply lost, and runs another after it. Two things must hold: what was recorded when
// the first one died is there, and the end is the same as without a death.
func killedAtAnyCall(t *testing.T, s testEnv, name func() string) {
	reference := Config{Outbox: name(), Shards: 2}
	mustMigrate(t, s.migrator(t, reference))
	want := s.snapshot(t, reference)

	onRedis, onKafka := integration.RedisFaults(), integration.KafkaFaults()
	for _, server := range []struct {
		name   string
		faults *integration.CallFaults
	}{{"redis", onRedis}, {"kafka", onKafka}} {
		for _, mode := range []integration.FaultMode{integration.RequestLost, integration.ReplyLost} {
			t.Run(server.name+", "+mode.String(), func(t *testing.T) {
				died := 0
				calls, err := server.faults.EachCall(mode, 200, func(int) error {
					cfg := Config{Outbox: name(), Shards: 2}
					if s.dying(t, cfg, onRedis, onKafka) != nil {
						died++
					}
					return s.goesOn(t, cfg, want)
				})
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%d calls failed once each, %d of them ended the migration", calls, died)
				if died == 0 {
					t.Error("no failure ended a migration")
				}
			})
		}
	}
}

// dying migrates with clients that give up at the first failure.
func (s testEnv) dying(t *testing.T, cfg Config, onRedis, onKafka *integration.CallFaults) error {
	options := *s.redis
	options.Dialer, options.MaxRetries = onRedis.Dial, -1
	rdb := redis.NewUniversalClient(&options)
	defer rdb.Close()
	kafka, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.Dialer(onKafka.Dial),
		kgo.RequestRetries(0))
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	m, err := New(rdb, kafka, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return migrate(testContext(t), m, 0)
}

// goesOn checks what a dead migration left, migrates again and compares the end.
func (s testEnv) goesOn(t *testing.T, cfg Config, want string) error {
	m := s.migrator(t, cfg)
	status, err := m.Status(testContext(t))
	if err != nil {
		return err
	}
	if len(status.Drift) > 0 {
		return errors.New("a version was recorded too early: " + asJSON(t, status))
	}
	if err := migrate(testContext(t), m, 0); err != nil {
		return err
	}
	mustBeCurrent(t, m)
	if diff := cmp.Diff(want, s.snapshot(t, cfg)); diff != "" {
		return errors.New("the end differs: " + diff)
	}
	return nil
}

// twoAtOnceStepByStep lets a second migration run from beginning to end after each step of the
// first, which then goes on with its plan of before.
func twoAtOnceStepByStep(t *testing.T, s testEnv, name func() string) {
	reference := Config{Outbox: name(), Shards: 2}
	mustMigrate(t, s.migrator(t, reference))
	want := s.snapshot(t, reference)

	for at := 0; ; at++ {
		cfg := Config{Outbox: name(), Shards: 2}
		second := s.migrator(t, cfg)
		steps := 0
		cfg.OnStep = func(Step) {
			if steps == at {
				mustMigrate(t, second)
				mustBeCurrent(t, second)
			}
			steps++
		}
		mustMigrate(t, s.migrator(t, cfg))
		mustBeCurrent(t, second)
		if diff := cmp.Diff(want, s.snapshot(t, cfg)); diff != "" {
			t.Errorf("second migration after step %d: %s", at, diff)
		}
		if steps <= at {
			break
		}
	}
}

// manyAtOnce lets several migrations of one outbox race.
func manyAtOnce(t *testing.T, s testEnv, name func() string) {
	reference := Config{Outbox: name(), Shards: 3}
	mustMigrate(t, s.migrator(t, reference))
	want := s.snapshot(t, reference)

	for range 5 {
		cfg := Config{Outbox: name(), Shards: 3}
		for i, err := range race(t, s, cfg, cfg, cfg, cfg) {
			if err != nil {
				t.Errorf("migration %d: %v", i, err)
			}
		}
		mustBeCurrent(t, s.migrator(t, cfg))
		if diff := cmp.Diff(want, s.snapshot(t, cfg)); diff != "" {
			t.Error(diff)
		}
	}
}

// differentShardsAtOnce lets migrations race that do not agree on the number of shards: one number
// wins, and the others leave nothing.
func differentShardsAtOnce(t *testing.T, s testEnv, name func() string) {
	for range 5 {
		two := Config{Outbox: name(), Shards: 2}
		three := two
		three.Shards = 3
		errs := race(t, s, two, three, two, three)
		layout, err := outbox.ReadLayout(testContext(t), s.redisClient(t), two.Outbox)
		if err != nil {
			t.Fatal(err)
		}
		for i, err := range errs {
			var refused *RefusedError
			won := 2+i%2 == layout.Shards
			switch {
			case won && err != nil:
				t.Errorf("with the %d shards that won: %v", layout.Shards, err)
			case !won && (!errors.As(err, &refused) || refused.Findings[0].Problem != OtherShards):
				t.Errorf("with another number than %d: %v", layout.Shards, err)
			}
		}
		winner := two
		winner.Shards = layout.Shards
		mustBeCurrent(t, s.migrator(t, winner))
		beyond := outbox.StreamKey(two.Outbox, layout.Shards)
		if n := s.redisClient(t).Exists(testContext(t), beyond).Val(); n != 0 {
			t.Errorf("%s was left behind", beyond)
		}
	}
}

// race runs a migration for each configuration at the same time and returns their errors.
func race(t *testing.T, s testEnv, cfgs ...Config) []error {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	errs := make([]error, len(cfgs))
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i, cfg := range cfgs {
		m := s.migrator(t, cfg)
		wg.Go(func() {
			<-start
			errs[i] = migrate(ctx, m, 0)
		})
	}
	close(start)
	wg.Wait()
	return errs
}
