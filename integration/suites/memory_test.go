//go:build integration

package suites_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/outbox"
)

// TestMemoryStaysBounded: a million entries of 1 KB wait. The relay that delivers them stays below
// 256 MiB, in either delivery.
func TestMemoryStaysBounded(t *testing.T) {
	const limit = 256 << 20
	// Its own, for its size, and without a file: that would be written as well.
	server, err := servers.StartRedis(deadline(t, time.Minute),
		servers.RedisOptions{Config: []string{"appendonly no"}})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, server)
	t.Logf("servers: %s of its own, %s", server.Version, integration.Servers(t).Kafka.Version)
	for _, delivery := range []string{"exactly-once", "at-least-once"} {
		t.Run(delivery, func(t *testing.T) {
			w := testenv.New(t, testenv.Options{
				Shards: 4,
				Redis:  redis.UniversalOptions{Addrs: []string{server.Addr}},
			})
			entries := scaled(t, 1_000_000)
			if delivery == "at-least-once" {
				entries /= 4 // the same bounds; enough to reach them
			}
			began := time.Now()
			fill(t, w, entries, 1024)
			t.Logf("%d entries of 1 KB written in %s", entries,
				time.Since(began).Round(100*time.Millisecond))
			t.Cleanup(func() { discard(t, w) })

			began = time.Now()
			p := w.Spawn(testenv.Settings{"delivery": delivery})
			w.AwaitPassed(5 * time.Minute)
			took := time.Since(began)
			peak := peakMemory(t, p.PID())
			t.Logf("delivered in %s, %.0f entries/s; the relay's largest resident size was %d MiB",
				took.Round(100*time.Millisecond), float64(entries)/took.Seconds(), peak>>20)
			if peak > limit {
				t.Errorf("the relay used %d MiB, want at most %d", peak>>20, limit>>20)
			}
			if err := p.Terminate(deadline(t, 30*time.Second)); err != nil {
				t.Fatal(err)
			}
			if got := visible(t, w); got != entries {
				t.Errorf("%d events, want %d", got, entries)
			}
		})
	}
}

// fill adds n entries of size bytes over all shards, as fast as one connection takes them.
func fill(t *testing.T, w *testenv.Env, n, size int) {
	t.Helper()
	ctx := deadline(t, 5*time.Minute)
	payload := strings.Repeat("x", size)
	const batch = 2000
	for done := 0; done < n; done += batch {
		pipe := w.Redis.Pipeline()
		for i := done; i < min(done+batch, n); i++ {
			pipe.Do(ctx, "XADD", w.Stream(i%w.Shards), "*", outbox.FieldID, strconv.Itoa(i),
				outbox.FieldAggregateType, "order",
				outbox.FieldAggregateID, strconv.Itoa(
					i%1000), outbox.FieldType, "OrderPlaced", outbox.FieldPayload, payload, outbox.FieldHeaders,
				"{}")
		}
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// visible counts the events that a read_committed reader gets, without keeping their records.
func visible(t *testing.T, w *testenv.Env) int {
	t.Helper()
	ctx := deadline(t, 5*time.Minute)
	if err := integration.AwaitStable(ctx, w.KafkaOpts(), w.Topic()); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	err := integration.ReadCommitted(ctx, w.KafkaOpts(), func(r *kgo.Record) error {
		seen[testenv.Header(r, "id")] = true
		return nil
	}, w.Topic())
	if err != nil {
		t.Fatal(err)
	}
	return len(seen)
}

// discard removes what would fill the servers for the tests to come.
func discard(t *testing.T, w *testenv.Env) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := kadm.NewClient(w.Kafka).DeleteTopics(ctx, w.Topic()); err != nil {
		t.Logf("delete topic: %v", err)
	}
	for shard := range w.Shards {
		if err := w.Redis.Unlink(ctx, w.Stream(shard)).Err(); err != nil {
			t.Logf("delete stream: %v", err)
		}
	}
}

// peakMemory is the largest resident size that a process has had.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatalf("needs Linux: %v", err)
	}
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmHWM:")); ok {
			kib, err := strconv.Atoi(strings.TrimSpace(
				strings.TrimSuffix(strings.TrimSpace(string(rest)), "kB")))
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no VmHWM in the process's status")
	return 0
}
