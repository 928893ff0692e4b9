//go:build integration

package suites_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// A shard that has entries to deliver and does not move says why, soon, and names what it waits
// for: the server, or the partition. What was well before an entry came is told like what broke
// under load.

// TestStandstillNamesTheBroker: the only broker stops without a word, then entries come.
func TestStandstillNamesTheBroker(t *testing.T) {
	t.Parallel()
	ctx := deadline(t, 5*time.Minute)
	s := startServers(t)
	w := s.environment(t, 4)
	r := w.Run(w.Config())
	deliver := addToAll(w)
	w.AwaitCommitted(time.Minute)
	if err := s.kafka.Stop(); err != nil {
		t.Fatal(err)
	}
	deliver()
	broker := named(s.kafka.Addrs()...)
	awaitAccount(t, w, broker, 0, 1, 2, 3)
	awaitRelayAccount(t, w, r, broker, 0, 1, 2, 3)
	if err := s.kafka.Cont(); err != nil {
		t.Fatal(err)
	}
	awaitWell(ctx, t, w, r)
	verify(t, w)
}

// TestStandstillNamesRedis: Redis stops without a word. Its status cannot be written then, and the
// relay itself has to tell.
func TestStandstillNamesRedis(t *testing.T) {
	t.Parallel()
	ctx := deadline(t, 5*time.Minute)
	s := startServers(t)
	w := s.environment(t, 4)
	cfg := w.Config()
	cfg.Redis = w.RedisClient(func(o *redis.UniversalOptions) { o.ReadTimeout = 2 * time.Second })
	r := w.Run(cfg)
	deliver := addToAll(w)
	w.AwaitCommitted(time.Minute)
	if err := s.redis.Stop(); err != nil {
		t.Fatal(err)
	}
	awaitRelayAccount(t, w, r, regexp.MustCompile("(?i)redis"), 0, 1, 2, 3)
	if err := s.redis.Cont(); err != nil {
		t.Fatal(err)
	}
	deliver()
	awaitWell(ctx, t, w, r)
	verify(t, w)
}

// TestStandstillNamesThePartition: a partition has lost its leader while nothing was to be
// delivered. Then entries come, and only the shard that writes there waits.
func TestStandstillNamesThePartition(t *testing.T) {
	t.Parallel()
	ctx := deadline(t, 5*time.Minute)
	const victim, blocked = 3, 1
	w, k := threeBrokers(ctx, t, 4)
	onlyCopy(ctx, t, w, blocked, victim)
	r := w.Run(w.Config())
	deliver := addToAll(w)
	w.AwaitCommitted(time.Minute)
	if err := k.Brokers[victim-1].Stop(); err != nil {
		t.Fatal(err)
	}
	awaitLeader(t, w, blocked, false)
	deliver()
	w.AwaitPassed(time.Minute, 0, 2, 3)
	partition := partitionNamed(w.Topic(), blocked)
	awaitAccount(t, w, partition, blocked)
	awaitRelayAccount(t, w, r, partition, blocked)
	if err := k.Brokers[victim-1].Cont(); err != nil {
		t.Fatal(err)
	}
	awaitWell(ctx, t, w, r)
	verify(t, w)
}

// addToAll adds ten events to every shard, and returns what adds ten more. Their keys belong to
// their shards, so that each shard writes to its own partition.
func addToAll(w *testenv.Env) func() {
	keys := make([]string, w.Shards)
	for n, missing := 0, w.Shards; missing > 0; n++ {
		key := fmt.Sprintf("k%d", n)
		if shard := outbox.Shard(key, w.Shards); keys[shard] == "" {
			keys[shard] = key
			missing--
		}
	}
	add := func() {
		for shard, key := range keys {
			for range 10 {
				w.AddFields(shard, "*", append(w.Fields("payload"), outbox.FieldKey, key)...)
			}
		}
	}
	add()
	return add
}

// awaitAccount wants the status hash to say in time why shards do not move: they are waiting, with
// a reason that matches.
func awaitAccount(t *testing.T, w *testenv.Env, reason *regexp.Regexp, shards ...int) {
	t.Helper()
	began := time.Now()
	err := testenv.Poll(t.Context(), stillnessLimit, func(ctx context.Context) error {
		for _, shard := range shards {
			st, err := w.Status(ctx, shard)
			if err != nil {
				return err
			}
			if st.State != relay.StateWaiting || !reason.MatchString(st.Reason) {
				return fmt.Errorf("shard %d cannot deliver, and is not waiting for a reason like %q; %s", shard,
					reason, st)
			}
		}
		return nil
	})
	if err != nil {
		t.Errorf("status hash: %v", err)
		return
	}
	t.Logf("the status hash accounts for shards %v after %s", shards,
		time.Since(began).Round(100*time.Millisecond))
}

// awaitRelayAccount is awaitAccount for what the relay itself tells. A relay with such shards is
// not ready.
func awaitRelayAccount(t *testing.T, w *testenv.Env, r *testenv.Running, reason *regexp.Regexp,
	shards ...int,
) {
	t.Helper()
	began := time.Now()
	err := testenv.Poll(t.Context(), stillnessLimit, func(context.Context) error {
		waiting := map[int]string{}
		for _, st := range r.Status() {
			if st.State == relay.StateWaiting {
				waiting[st.Shard] = st.Reason
			}
		}
		for _, shard := range shards {
			if why, ok := waiting[shard]; !ok || !reason.MatchString(why) {
				return fmt.Errorf("shard %d cannot deliver, and is not waiting for a reason like %q: %q", shard,
					reason, why)
			}
		}
		if r.Ready() == nil {
			return fmt.Errorf("%d shards of %d cannot deliver, and the relay is ready", len(shards),
				w.Shards)
		}
		return nil
	})
	if err != nil {
		t.Errorf("relay: %v", err)
		return
	}
	t.Logf("the relay accounts for shards %v after %s", shards,
		time.Since(began).Round(100*time.Millisecond))
}

// awaitWell waits until everything is delivered and no shard gives a reason any more.
func awaitWell(ctx context.Context, t *testing.T, w *testenv.Env, r *testenv.Running) {
	t.Helper()
	began := time.Now()
	w.AwaitCommitted(time.Minute)
	w.Await(time.Minute, func(context.Context) error {
		for shard := range w.Shards {
			st, err := w.Status(ctx, shard)
			if err != nil {
				return err
			}
			if st.State != relay.StateRunning || st.Reason != "" {
				return fmt.Errorf("shard %d has delivered everything; %s", shard, st)
			}
		}
		return r.Ready()
	})
	t.Logf("all is well %s after the end of the fault", time.Since(began).Round(100*time.Millisecond))
}

// named matches a reason that names one of these, addresses for example.
func named(names ...string) *regexp.Regexp {
	quoted := make([]string, len(names))
	for n, name := range names {
		quoted[n] = regexp.QuoteMeta(name)
	}
	return regexp.MustCompile(strings.Join(quoted, "|"))
}

// partitionNamed matches a reason that names a partition of a topic.
func partitionNamed(topic string, partition int) *regexp.Regexp {
	return regexp.MustCompile(fmt.Sprintf(`%s\D{0,20}\b%d\b`, regexp.QuoteMeta(topic), partition))
}
