//go:build integration

package suites_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/integration/testenv"
)

// ownServers are servers that the test may break.
type ownServers struct {
	redis *servers.Redis
	kafka *servers.Kafka
}

// startServers starts a Redis that has on disk what it has acknowledged, and a Kafka.
func startServers(t *testing.T) ownServers {
	t.Helper()
	ctx := deadline(t, 2*time.Minute)
	var s ownServers
	var err error
	if s.redis, err = servers.StartRedis(ctx,
		servers.RedisOptions{Config: []string{"appendfsync always"}}); err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, s.redis)
	if s.kafka, err = servers.StartKafka(ctx, servers.KafkaOptions{}); err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, s.kafka)
	t.Logf("servers: %s with appendfsync always, %s", s.redis.Version, s.kafka.Version)
	return s
}

func (s ownServers) environment(t *testing.T, shards int) *testenv.Env {
	t.Helper()
	return testenv.New(t, testenv.Options{
		Shards: shards, Redis: redis.UniversalOptions{Addrs: []string{s.redis.Addr}},
		Kafka: s.kafka.Addrs(),
	})
}

// TestExactlyOnceWhileServersDie: Redis and Kafka are killed and restarted under load, and relays
// die between. Nothing that was acknowledged is lost, nothing is delivered twice.
func TestExactlyOnceWhileServersDie(t *testing.T) {
	t.Parallel()
	s := startServers(t)
	w := s.environment(t, 4)
	serverChaos(t, s, w, testenv.Settings{"session_timeout": session.String()})
	w.AwaitCommitted(2 * time.Minute)
	verify(t, w)
}

// TestAtLeastOnceWhileServersDie is the same for the other delivery: nothing is lost; duplicates
// are counted.
func TestAtLeastOnceWhileServersDie(t *testing.T) {
	t.Parallel()
	s := startServers(t)
	w := s.environment(t, 4)
	serverChaos(t, s, w, testenv.Settings{
		"session_timeout": session.String(),
		"delivery":        "at-least-once",
	})
	w.AwaitAcknowledged(2 * time.Minute)
	verifyAtLeastOnce(t, w)
}

// serverChaos writes events while servers and relays die in turn, one fault after the other was got
// over.
func serverChaos(t *testing.T, s ownServers, w *testenv.Env, settings testenv.Settings) {
	t.Helper()
	random := integration.Seed(t)
	ctx := deadline(t, 10*time.Minute)
	events := scaled(t, 200_000)
	shop := w.Open(ctx, testenv.ShopOptions{
		Events: events, Seed: random.Uint64(), Writers: 32,
		Gated: true, Persistent: true,
	})
	c := newCrew(t, w, 3, random, settings)
	faults := []struct {
		name string
		do   func(context.Context) error
	}{
		{"Redis killed and restarted", func(ctx context.Context) error { return s.redis.Restart(ctx) }},
		{"Kafka killed and restarted", s.kafka.Restart},
		{"Redis ended in good order and restarted", func(ctx context.Context) error {
			if err := s.redis.Shutdown(ctx); err != nil {
				return err
			}
			return s.redis.Restart(ctx)
		}},
		{"Kafka and Redis killed and restarted", func(ctx context.Context) error {
			if err := s.kafka.Kill(); err != nil {
				return err
			}
			if err := s.redis.Restart(ctx); err != nil {
				return err
			}
			return s.kafka.Restart(ctx)
		}},
	}
	for n, fault := range faults {
		from, to := events*n/len(faults), events*(n+1)/len(faults)
		shop.Allow(to)
		shop.Await(2*time.Minute, from+random.IntN(max(1, (to-from)/2)))
		began := time.Now()
		if err := fault.do(ctx); err != nil {
			t.Fatal(err)
		}
		down := time.Since(began)
		c.fault()
		w.AwaitPassed(2 * time.Minute)
		t.Logf("%s in %s, what had been written until then was delivered %s later",
			fault.name, down.Round(100*time.Millisecond), (time.Since(began) - down).Round(
				100*time.Millisecond))
	}
	shop.Close(2 * time.Minute)
	c.rest()
	w.AwaitPassed(2 * time.Minute)
	c.leave()
}
