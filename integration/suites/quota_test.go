//go:build integration

package suites_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/relay"
)

const (
	// quotaRate is what the broker lets each client produce, in bytes a second.
	quotaRate = 100_000
	// quotaBacklog is what waits: more than a transaction of ten seconds can carry.
	quotaBacklog = 12_000_000
	// progressEvery is how often a position has to move, however slow the broker is.
	progressEvery = 30 * time.Second
)

// TestProducerQuota: the broker slows producers down to a hundredth of what waits. A transaction
// has its time-out, so its size has to fit: positions go on moving until all is delivered.
func TestProducerQuota(t *testing.T) {
	t.Parallel()
	ctx := deadline(t, 30*time.Minute)
	k, err := servers.StartKafka(ctx, servers.KafkaOptions{Java: []string{"-Xmx512m"}})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, k)
	t.Logf("servers: %s, %s", integration.Servers(t).Redis.Version, k.Version)
	w := testenv.New(t, testenv.Options{Shards: 4, Kafka: k.Addrs()})
	limitProducers(ctx, t, w, quotaRate)
	size := 1000
	entries := scaled(t, quotaBacklog) / size
	for n := range entries {
		shard := 0 // most of it
		if n%4 == 0 {
			shard = 1 + n/4%(w.Shards-1)
		}
		w.Add(shard, 1, incompressible(t, size))
	}
	began := time.Now()
	w.Run(w.Config())
	w.WatchStillness(progressEvery)
	// Three times what the quota needs, and time to begin.
	longest := awaitProgress(ctx, t, w, progressEvery,
		2*time.Minute+3*time.Duration(entries*size/quotaRate)*time.Second)
	took := time.Since(began)
	t.Logf("%d KB delivered in %s, %.0f B/s of %d; no position moved for %s at the longest",
		entries*size/1000, took.Round(time.Second), float64(
			entries*size)/took.Seconds(), quotaRate, longest.Round(100*time.Millisecond))
	verify(t, w)
}

// limitProducers sets a quota for every client of a server.
func limitProducers(ctx context.Context, t *testing.T, w *testenv.Env, bytesPerSecond float64) {
	t.Helper()
	ops := []kadm.AlterClientQuotaOp{{Key: "producer_byte_rate", Value: bytesPerSecond}}
	altered, err := kadm.NewClient(w.Kafka).AlterClientQuotas(ctx, []kadm.AlterClientQuotaEntry{
		{Entity: kadm.ClientQuotaEntity{{Type: "client-id"}}, Ops: ops},
	})
	for _, a := range altered {
		err = errors.Join(err, a.Err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// incompressible is a payload of a size that no producer can make smaller.
func incompressible(t *testing.T, size int) string {
	t.Helper()
	b := make([]byte, size)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// awaitProgress waits until all that is in the streams is delivered. The test fails when no
// position has moved for a while. It returns the longest time in which none has.
func awaitProgress(ctx context.Context, t *testing.T, w *testenv.Env, each,
	limit time.Duration,
) (longest time.Duration) {
	t.Helper()
	waiting := len(w.Entries())
	began, before, moved := time.Now(), uint64(0), time.Now()
	w.Await(limit, func(context.Context) error {
		positions, err := relay.ReadPositions(ctx, w.KafkaDirect(), w.Outbox, w.Shards)
		if err != nil {
			return err
		}
		delivered := uint64(0)
		for _, p := range positions {
			delivered += p.Count
		}
		if delivered > before {
			longest, moved, before = max(longest, time.Since(moved)), time.Now(), delivered
		}
		if still := time.Since(moved); still > each {
			st, err := w.Status(ctx, 0)
			t.Fatalf("no position has moved for %s, %d of %d entries were delivered in %s; shard 0: %s %v",
				still.Round(time.Second), delivered, waiting, time.Since(began).Round(time.Second), st, err)
		}
		if delivered < uint64(waiting) {
			return fmt.Errorf("%d of %d entries are delivered", delivered, waiting)
		}
		return nil
	})
	return longest
}
