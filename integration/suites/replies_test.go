//go:build integration

package suites_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// refusal is a state in which a Redis refuses to write.
type refusal struct {
	name       string
	kind       error // what the writer says
	begin, end func(ctx context.Context, c redis.UniversalClient) error
}

// set changes the configuration of a running server.
func set(pairs ...string) func(context.Context, redis.UniversalClient) error {
	return func(ctx context.Context, c redis.UniversalClient) error {
		for i := 0; i < len(pairs); i += 2 {
			if err := c.ConfigSet(ctx, pairs[i], pairs[i+1]).Err(); err != nil {
				return fmt.Errorf("CONFIG SET %s: %w", pairs[i], err)
			}
		}
		return nil
	}
}

var refusals = []refusal{
	{
		"READONLY", outbox.ErrReadOnly,
		// Nobody listens on port 1: a replica that has lost its master and goes on answering reads.
		func(ctx context.Context, c redis.UniversalClient) error {
			return c.Do(ctx, "REPLICAOF", "127.0.0.1", "1").Err()
		},
		func(ctx context.Context, c redis.UniversalClient) error {
			return c.Do(ctx, "REPLICAOF", "NO", "ONE").Err()
		},
	},
	{
		"NOREPLICAS", outbox.ErrTooFewReplicas, set("min-replicas-to-write", "1"),
		set("min-replicas-to-write", "0"),
	},
	{"OOM", outbox.ErrOutOfMemory, set("maxmemory", "1mb"), set("maxmemory", "0")},
	{"MISCONF", outbox.ErrNotPersisting, failToSave, set("save", "")},
}

// failToSave has a snapshot fail, because what should become its file is a folder.
func failToSave(ctx context.Context, c redis.UniversalClient) error {
	dir, err := c.ConfigGet(ctx, "dir").Result()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir["dir"], "dump.rdb", "folder"), 0o700); err != nil {
		return err
	}
	if err := set("save", "3600 1")(ctx, c); err != nil {
		return err
	}
	if err := c.BgSave(ctx).Err(); err != nil {
		return err
	}
	return nil
}

// TestRedisThatRefusesToWrite: writers get an error that says why and that nothing was written. The
// relay goes on delivering what waits, since reading leaves no trace in Redis; mirror and trim
// follow when writing works again.
func TestRedisThatRefusesToWrite(t *testing.T) {
	t.Parallel()
	for _, refusal := range refusals {
		t.Run(refusal.name, func(t *testing.T) {
			t.Parallel()
			w, _ := ownRedis(t)
			ctx := deadline(t, 2*time.Minute)
			w.Add(0, 2000, "waiting")
			if err := refusal.begin(ctx, w.Redis); err != nil {
				t.Fatal(err)
			}
			writer, err := outbox.NewWriter(w.RedisClient(nil), outbox.Config{Outbox: w.Outbox})
			if err != nil {
				t.Fatal(err)
			}
			place := func() error {
				_, err := writer.Tx(ctx, "42", func(tx *outbox.Tx) error {
					tx.Queue().Incr(ctx, tx.StateKey("orders"))
					return tx.Append(outbox.Event{AggregateType: "order", AggregateID: "42", Type: "OrderPlaced"})
				})
				return err
			}
			// A failed snapshot takes a moment to be known.
			w.Await(time.Minute, func(context.Context) error {
				if err = place(); err == nil {
					return errors.New("the transaction was committed")
				}
				return nil
			})
			t.Logf("the writer says: %v", err)
			if !errors.Is(err, refusal.kind) || outbox.OutcomeOf(err) != outbox.NotCommitted {
				t.Errorf("got %v (%v), want %v and nothing committed", err, outbox.OutcomeOf(err), refusal.kind)
			}

			w.Run(w.Config())
			w.AwaitCommitted(time.Minute)

			if err := refusal.end(ctx, w.Redis); err != nil {
				t.Fatal(err)
			}
			w.Await(time.Minute, func(context.Context) error { return place() })
			w.AwaitCommitted(time.Minute)
			awaitLag(t, w, 0, 0)
			verify(t, w)
		})
	}
}

// TestRedisThatRefusesToRead: a replica without its master, and a server that is loading its files.
// The relay waits, is not ready, and goes on by itself.
func TestRedisThatRefusesToRead(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		config []string
		refuse func(ctx context.Context, w *testenv.Env, server *servers.Redis) error
	}{
		"MASTERDOWN": {nil, func(ctx context.Context, w *testenv.Env, _ *servers.Redis) error {
			return errors.Join(set("replica-serve-stale-data", "no")(ctx, w.Redis),
				w.Redis.Do(ctx, "REPLICAOF", "127.0.0.1", "1").Err())
		}},
		// 300 µs a command of its append-only file.
		"LOADING": {
			[]string{"key-load-delay 300"},
			func(ctx context.Context, _ *testenv.Env, server *servers.Redis) error {
				go func() { _ = server.Restart(ctx) }() // returns when it has loaded
				return nil
			},
		},
	} {
		for _, d := range []relay.Delivery{relay.DeliveryExactlyOnce, relay.DeliveryAtLeastOnce} {
			t.Run(name+"/"+d.String(), func(t *testing.T) {
				t.Parallel()
				server, err := servers.StartRedis(deadline(t, time.Minute),
					servers.RedisOptions{Config: append([]string{"appendfsync always"}, tt.config...)})
				if err != nil {
					t.Fatal(err)
				}
				integration.CloseAtEnd(t, server)
				t.Logf("servers: %s of its own, %s", server.Version, integration.Servers(t).Kafka.Version)
				w := testenv.New(t, testenv.Options{
					Shards: 1,
					Redis:  redis.UniversalOptions{Addrs: []string{server.Addr}},
				})
				ctx := deadline(t, 2*time.Minute)
				cfg := w.Config()
				cfg.Delivery = d
				r := w.Run(cfg)
				w.Add(0, 10_000, "before")
				w.AwaitPassed(time.Minute)
				if err := tt.refuse(ctx, w, server); err != nil {
					t.Fatal(err)
				}
				w.AwaitLog(r, time.Minute, name)
				w.Await(time.Minute, func(context.Context) error {
					if r.Ready() == nil {
						return errors.New("the relay says that it is ready")
					}
					return nil
				})
				w.Await(time.Minute, func(ctx context.Context) error {
					return w.Redis.Do(ctx, "REPLICAOF", "NO", "ONE").Err() // as soon as it answers
				})
				w.Add(0, 100, "after")
				w.AwaitPassed(time.Minute)
				w.Await(time.Minute, func(context.Context) error { return r.Ready() })
				verifyDelivery(t, w, d)
			})
		}
	}
}
