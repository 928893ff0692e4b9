//go:build integration

package suites_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// TestSentinelFailoverCarriesEventsOnce: a master with a replica behind Sentinel, 10,000 events,
// one failover in the middle of their delivery, of a master that is alive and in step: nothing is
// lost by it, and nothing delivered twice.
func TestSentinelFailoverCarriesEventsOnce(t *testing.T) {
	t.Parallel()
	s, w := sentinelWorld(t)
	ctx := deadline(t, 5*time.Minute)
	w.Spawn(nil)
	w.Spawn(nil)
	const events = 10_000
	shop := w.Open(ctx, testenv.ShopOptions{
		Events: events, Seed: integration.Seed(t).Uint64(),
		Gated: true, Persistent: true,
	})
	shop.Allow(events / 10)
	w.AwaitState(0, relay.StateRunning, time.Minute)
	var promoted *servers.Redis
	var began time.Time
	err := whilePaused(ctx, w.Env, func() error {
		shop.Allow(events / 2)
		shop.Await(time.Minute, events/2)
		// Redis replicates asynchronously: what the replica has not got yet would be lost. The next test
		// does that.
		return w.replicated(ctx)
	})
	if err == nil {
		began = time.Now()
		promoted, err = s.Failover(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s was promoted in %s, while %d events waited to be delivered", promoted.Name,
		time.Since(began).Round(100*time.Millisecond), events/2)
	w.awaitDemoted(t, s, promoted)
	shop.Allow(events)
	shop.Close(2 * time.Minute)
	w.AwaitCommitted(2 * time.Minute)
	verify(t, w.Env)
}

// TestFailoverThatLosesEntriesHaltsTheShard: the master dies while its replica is behind. What was
// delivered and is now forgotten is detected: the shard halts instead of delivering other entries
// under used IDs, or skipping new ones.
func TestFailoverThatLosesEntriesHaltsTheShard(t *testing.T) {
	t.Parallel()
	s, w := sentinelWorld(t)
	ctx := deadline(t, 5*time.Minute)
	r := w.Run(w.Config())
	w.Add(0, 100, "on both")
	w.AwaitCommitted(time.Minute)
	if err := w.replicated(ctx); err != nil {
		t.Fatal(err)
	}
	master, err := s.Master(ctx)
	if err != nil {
		t.Fatal(err)
	}
	replica := s.Redis[0]
	if replica == master {
		replica = s.Redis[1]
	}
	if err := replica.Stop(); err != nil {
		t.Fatal(err)
	}
	// Without its connection nothing waits for it when it goes on.
	if err := integration.RedisClient(t, master, nil).Do(ctx, "CLIENT", "KILL", "TYPE",
		"replica").Err(); err != nil {
		t.Fatal(err)
	}
	w.Add(0, 50, "on the old master alone")
	w.AwaitCommitted(time.Minute)
	at := position(t, w.Env, 0)
	if err := errors.Join(master.Kill(), replica.Cont()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AwaitFailover(ctx, master); err != nil {
		t.Fatal(err)
	}
	awaitMismatch(t, w.Env, 0, nothing)
	w.Add(0, 70, "on the new master")
	awaitMismatch(t, w.Env, 0, another)
	resume(t, w.Env, 0, at.Entry)
	w.AwaitState(0, relay.StateRunning, time.Minute)
	w.AwaitPassed(time.Minute)
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	report := testenv.Compare(w.Entries(), w.Delivered())
	t.Log(report)
	if report.Lost+report.Duplicated+report.OutOfOrder+report.Altered > 0 || report.Orphaned != 50 {
		t.Errorf("want nothing but 50 records without an entry: %s", strings.Join(report.Findings, "\n"))
	}
}

// replicatedWorld is an environment of one shard on a Redis behind Sentinel.
type replicatedWorld struct{ *testenv.Env }

func sentinelWorld(t *testing.T) (*servers.Sentinel, replicatedWorld) {
	t.Helper()
	s, err := servers.StartSentinel(deadline(t, 2*time.Minute), servers.SentinelOptions{})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, s)
	t.Logf("servers: %s behind Sentinel, %s", s.Version, integration.Servers(t).Kafka.Version)
	o := s.Options()
	return s, replicatedWorld{testenv.New(t,
		testenv.Options{Shards: 1, Redis: redis.UniversalOptions{
			MasterName: o.MasterName,
			Addrs:      o.SentinelAddrs,
		}})}
}

// replicated waits until a replica has everything that was written so far.
func (w replicatedWorld) replicated(ctx context.Context) error {
	// WAIT is about the writes of its own connection, so it makes one.
	pipe := w.Redis.Pipeline()
	pipe.Set(ctx, outbox.StateKey(w.Outbox, 0, "replicated"), "yes", 0)
	n := pipe.Do(ctx, "WAIT", 1, 30_000)
	if _, err := pipe.Exec(ctx); err != nil {
		return err
	}
	if got, err := n.Int(); err != nil || got < 1 {
		return fmt.Errorf("%d replicas have it, %w", got, err)
	}
	return nil
}

// awaitDemoted waits until the old master follows the new one: until then it takes writes of
// clients that still know it, and forgets them.
func (w replicatedWorld) awaitDemoted(t *testing.T, s *servers.Sentinel, promoted *servers.Redis) {
	t.Helper()
	for _, server := range s.Redis {
		if server == promoted {
			continue
		}
		client := integration.RedisClient(t, server, nil)
		w.Await(time.Minute, func(ctx context.Context) error {
			info, err := client.Info(ctx, "replication").Result()
			if err == nil && !strings.Contains(info, "role:slave") {
				err = fmt.Errorf("%s still takes itself for the master", server.Name)
			}
			return err
		})
	}
}
