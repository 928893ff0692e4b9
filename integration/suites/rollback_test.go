//go:build integration

package suites_test

import (
	"context"
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

// resume does what `sluice resume --after` does: from now on exactly the entries above after are
// delivered.
func resume(t *testing.T, w *testenv.Env, shard int, after outbox.EntryID) {
	t.Helper()
	ctx := deadline(t, time.Minute)
	p, err := relay.PositionAfter(ctx, w.Redis, w.Outbox, shard, after)
	if err != nil {
		t.Fatal(err)
	}
	if err := relay.SetPosition(ctx, w.KafkaOpts(), w.Outbox, shard, p); err != nil {
		t.Fatal(err)
	}
}

// position is the committed position of a shard.
func position(t *testing.T, w *testenv.Env, shard int) relay.Position {
	t.Helper()
	positions, err := relay.ReadPositions(deadline(t, time.Minute), w.KafkaOpts(), w.Outbox, w.Shards)
	if err != nil {
		t.Fatal(err)
	}
	return positions[shard]
}

// What a shard can find in the place of its anchor.
const (
	nothing = "no entry at or after it"
	another = "with fingerprint"
)

// awaitMismatch waits until the shard is halted because of its anchor, with evidence of what it
// found instead.
func awaitMismatch(t *testing.T, w *testenv.Env, shard int, found string) {
	t.Helper()
	at := position(t, w, shard)
	var st testenv.Status
	w.Await(time.Minute, func(ctx context.Context) (err error) {
		if st, err = w.Status(ctx, shard); err != nil {
			return err
		}
		if st.State != relay.StateHalted || !strings.Contains(st.Found, found) {
			return fmt.Errorf("the shard is %s: %s; it expected %q and found %q, want it to find %q",
				st.State, st.Reason, st.Expected, st.Found, found)
		}
		return nil
	})
	t.Logf("halted: %s; expected %s, found %s", st.Reason, st.Expected, st.Found)
	if !strings.Contains(st.Expected, at.Entry.String()) ||
		!strings.Contains(st.Expected, at.Fingerprint) {
		t.Errorf("the evidence expects %q, the position is entry %s with fingerprint %s", st.Expected,
			at.Entry, at.Fingerprint)
	}
}

// TestRedisSetBackHaltsTheShard: Redis is set back to an earlier copy of its files. The shard
// halts, and says what it expected and what it found; no record is sent twice or skipped. Resumed
// by hand after the last delivered entry, it goes on.
func TestRedisSetBackHaltsTheShard(t *testing.T) {
	t.Parallel()
	w, server := ownRedis(t)
	r := w.Run(w.Config())
	w.Add(0, 500, "before the copy")
	w.AwaitCommitted(time.Minute)
	backup, err := server.CopyData(deadline(t, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	w.Add(0, 300, "after the copy: Kafka has these, Redis will not")
	w.AwaitCommitted(time.Minute)
	delivered := position(t, w, 0)
	records := len(w.Delivered())

	if err := server.RestoreData(deadline(t, time.Minute), backup); err != nil {
		t.Fatal(err)
	}
	awaitMismatch(t, w, 0, nothing)
	w.Add(0, 200, "after the restore")
	awaitMismatch(t, w, 0, another) // the first of the new ones
	if got := len(w.Delivered()); got != records {
		t.Fatalf("%d records while the shard is halted, %d before", got, records)
	}

	resume(t, w, 0, delivered.Entry)
	w.AwaitState(0, relay.StateRunning, time.Minute)
	w.AwaitPassed(time.Minute)
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	report := testenv.Compare(w.Entries(), w.Delivered())
	t.Log(report)
	// The records whose entries Redis has forgotten have no entry, which is what an audit would
	// report.
	if report.Lost+report.Duplicated+report.OutOfOrder+report.Altered > 0 || report.Orphaned != 300 {
		t.Errorf("want nothing but 300 records without an entry: %s", strings.Join(report.Findings, "\n"))
	}
}

// TestRedisSetBackGoesOnByPolicy: with the policy to continue, the relay goes on after the last
// delivered entry by itself.
func TestRedisSetBackGoesOnByPolicy(t *testing.T) {
	t.Parallel()
	w, server := ownRedis(t)
	cfg := w.Config()
	cfg.OnMismatch = relay.MismatchContinue
	r := w.Run(cfg)
	w.Add(0, 500, "before the copy")
	w.AwaitCommitted(time.Minute)
	backup, err := server.CopyData(deadline(t, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	w.Add(0, 300, "after the copy")
	w.AwaitCommitted(time.Minute)
	if err := server.RestoreData(deadline(t, time.Minute), backup); err != nil {
		t.Fatal(err)
	}
	w.Add(0, 200, "after the restore")
	w.AwaitPassed(time.Minute)
	if !strings.Contains(r.Log(), "anchor is gone") {
		t.Error("the relay does not say that the anchor was gone")
	}
	report := testenv.Compare(w.Entries(), w.Delivered())
	t.Log(report)
	if report.Lost+report.Duplicated+report.OutOfOrder+report.Altered > 0 || report.Orphaned != 300 {
		t.Errorf("want nothing but 300 records without an entry: %s", strings.Join(report.Findings, "\n"))
	}
}

// ownRedis is an environment of one shard on a Redis of its own, and on the shared Kafka.
func ownRedis(t *testing.T) (*testenv.Env, *servers.Redis) {
	t.Helper()
	server, err := servers.StartRedis(deadline(t, time.Minute),
		servers.RedisOptions{Config: []string{"appendfsync always"}})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, server)
	t.Logf("servers: %s of its own, %s", server.Version, integration.Servers(t).Kafka.Version)
	return testenv.New(t, testenv.Options{
		Shards: 1,
		Redis:  redis.UniversalOptions{Addrs: []string{server.Addr}},
	}), server
}
