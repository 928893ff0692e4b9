//go:build integration

package outbox_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/outbox"
)

// TestRefusals brings a server into every state in which it refuses to write, and looks at what the
// writer says: the right kind, nothing written, and the next transaction after the state has passed
// succeeds.
func TestRefusals(t *testing.T) {
	type server struct {
		admin *redis.Client
		r     *servers.Redis
	}
	set := func(ctx context.Context, t *testing.T, c *redis.Client, name, value string) {
		t.Helper()
		if err := c.ConfigSet(ctx, name, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	do := func(ctx context.Context, t *testing.T, c *redis.Client, args ...any) {
		t.Helper()
		if err := c.Do(ctx, args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		config []string
		want   error
		enter  func(context.Context, *testing.T, server)
		leave  func(context.Context, *testing.T, server)
	}{
		"full memory": {
			want: outbox.ErrOutOfMemory,
			enter: func(ctx context.Context, t *testing.T, s server) {
				set(ctx, t, s.admin, "maxmemory", "1")
			},
			leave: func(ctx context.Context, t *testing.T, s server) {
				set(ctx, t, s.admin, "maxmemory", "0")
			},
		},
		"replica": {
			want: outbox.ErrReadOnly,
			enter: func(ctx context.Context, t *testing.T, s server) {
				do(ctx, t, s.admin, "replicaof", "127.0.0.1", "1")
			},
			leave: func(ctx context.Context, t *testing.T, s server) {
				do(ctx, t, s.admin, "replicaof", "no", "one")
			},
		},
		"replica without a primary": {
			config: []string{"replica-serve-stale-data no", "replica-read-only no"},
			want:   outbox.ErrFailingOver,
			enter: func(ctx context.Context, t *testing.T, s server) {
				do(ctx, t, s.admin, "replicaof", "127.0.0.1", "1")
			},
			leave: func(ctx context.Context, t *testing.T, s server) {
				do(ctx, t, s.admin, "replicaof", "no", "one")
			},
		},
		"too few replicas": {
			want: outbox.ErrTooFewReplicas,
			enter: func(ctx context.Context, t *testing.T, s server) {
				set(ctx, t, s.admin, "min-replicas-to-write", "1")
			},
			leave: func(ctx context.Context, t *testing.T, s server) {
				set(ctx, t, s.admin, "min-replicas-to-write", "0")
			},
		},
		"disk": { // the snapshot cannot replace the folder of the append-only file
			config: []string{"save 86400 1", "dbfilename appendonlydir"},
			want:   outbox.ErrNotPersisting,
			enter: func(ctx context.Context, t *testing.T, s server) {
				do(ctx, t, s.admin, "bgsave")
				for !strings.Contains(s.admin.Info(ctx, "persistence").Val(), "rdb_last_bgsave_status:err") {
					if ctx.Err() != nil {
						t.Fatal("the snapshot did not fail")
					}
					time.Sleep(5 * time.Millisecond)
				}
			},
			leave: func(ctx context.Context, t *testing.T, s server) {
				set(ctx, t, s.admin, "stop-writes-on-bgsave-error", "no")
			},
		},
		"permission": {
			want: outbox.ErrDenied,
			enter: func(ctx context.Context, t *testing.T, s server) {
				do(ctx, t, s.admin, "acl", "setuser", "writer", "-xadd")
			},
			leave: func(ctx context.Context, t *testing.T, s server) {
				do(ctx, t, s.admin, "acl", "setuser", "writer", "+xadd")
			},
		},
		"busy with a script": {
			config: []string{"busy-reply-threshold 1", "lua-time-limit 1"},
			want:   outbox.ErrFailingOver,
			enter: func(ctx context.Context, t *testing.T, s server) {
				busy := integration.RedisClient(t, s.r, nil)
				go busy.Eval(ctx, "while true do end", nil)
				for !redis.HasErrorPrefix(s.admin.Ping(ctx).Err(), "BUSY") {
					if ctx.Err() != nil {
						t.Fatal("the script does not run")
					}
					time.Sleep(time.Millisecond)
				}
			},
			leave: func(ctx context.Context, t *testing.T, s server) {
				do(ctx, t, s.admin, "script", "kill")
				for s.admin.Ping(ctx).Err() != nil { // it ends at its next look at the flag
					if ctx.Err() != nil {
						t.Fatal("the script goes on")
					}
					time.Sleep(time.Millisecond)
				}
			},
		},
	} {
		for _, watch := range []string{"", "watched"} {
			t.Run(strings.TrimSpace(name+" "+watch), func(t *testing.T) {
				t.Parallel()
				ctx := integration.Context(t, time.Minute)
				r := startRedis(t, c.config...)
				s := server{admin: integration.RedisClient(t, r, func(o *redis.Options) {
					o.MaxRetries = -1
				}), r: r}
				do(ctx, t, s.admin, "acl", "setuser", "writer", "on", ">pass", "~*", "+@all")
				p := newTestEnv(t, r, 1, func(o *redis.Options) { o.Username, o.Password = "writer", "pass" })
				w := p.writer(t, outbox.Config{Attempts: 2, TypeCheckInterval: time.Hour})
				var opts []outbox.TxOption
				if watch != "" {
					opts = append(opts, outbox.WithWatch(watch))
				}
				run := func() error {
					_, err := w.Tx(ctx, "42", p.count(ctx, "42"), opts...)
					return err
				}
				if err := run(); err != nil {
					t.Fatal(err)
				}
				c.enter(ctx, t, s)
				err := run()
				c.leave(ctx, t, s)
				if !errors.Is(err, c.want) || outbox.OutcomeOf(err) != outbox.NotCommitted {
					t.Errorf("got %v, want %v", err, c.want)
				}
				t.Logf("says: %v", err)
				if n := p.committed(t, "42"); n != 1 {
					t.Errorf("committed %d times", n)
				}
				if err := run(); err != nil {
					t.Errorf("afterwards: %v", err)
				}
			})
		}
	}
}

func TestWrongPassword(t *testing.T) {
	r := startRedis(t)
	ctx := integration.Context(t, time.Minute)
	p := newTestEnv(t, r, 1, func(o *redis.Options) { o.Username, o.Password = "nobody", "x" })
	_, err := p.writer(t, outbox.Config{}).Tx(ctx, "42", p.count(ctx, "42"))
	if !errors.Is(err, outbox.ErrDenied) || outbox.OutcomeOf(err) != outbox.NotCommitted {
		t.Errorf("got %v", err)
	}
	if strings.Contains(err.Error(), "pass") && strings.Contains(err.Error(), `"x"`) {
		t.Errorf("the error shows the password: %v", err)
	}
}

// TestStreamReplacedAfterTheCheck is the window that the package documents: EXEC answers [OK,
// WRONGTYPE].
func TestStreamReplacedAfterTheCheck(t *testing.T) {
	r := startRedis(t)
	ctx := integration.Context(t, time.Minute)
	p := newTestEnv(t, r, 1, nil)
	w := p.writer(t, outbox.Config{TypeCheckInterval: time.Hour})
	tx := func(keys ...string) error {
		_, err := w.Tx(ctx, "42", func(tx *outbox.Tx) error {
			tx.Queue().Incr(ctx, "state")
			return tx.Append(event("42"), event("42"))
		}, outbox.WithWatch(keys...))
		return err
	}
	for n, keys := range [][]string{nil, {"watched"}} {
		if err := tx(keys...); err != nil {
			t.Fatal(err)
		}
		if err := p.admin.Del(ctx, p.stream("42")).Err(); err != nil {
			t.Fatal(err)
		}
		if err := p.admin.Set(ctx, p.stream("42"), "replaced", 0).Err(); err != nil {
			t.Fatal(err)
		}

		err := tx(keys...)
		var partial *outbox.PartialError
		if !errors.As(err, &partial) || partial.Missing != 2 || !errors.Is(err, outbox.ErrWrongType) ||
			outbox.OutcomeOf(err) != outbox.Committed {
			t.Fatalf("got %v", err)
		}
		if state, _ := p.admin.Get(ctx, "state").Int(); state != 2*n+2 {
			t.Errorf("state is %d", state)
		}

		err = tx(keys...) // now it knows, and asks first
		if !errors.Is(err, outbox.ErrWrongType) || outbox.OutcomeOf(err) != outbox.NotCommitted {
			t.Errorf("second time: %v", err)
		}
		if state, _ := p.admin.Get(ctx, "state").Int(); state != 2*n+2 {
			t.Errorf("state is %d after a refused transaction", state)
		}
		p.admin.Del(ctx, p.stream("42"))
	}
}

// TestHighestEntryID: a stream whose last ID is the highest possible takes no more entries.
func TestHighestEntryID(t *testing.T) {
	r := startRedis(t)
	ctx := integration.Context(t, time.Minute)
	p := newTestEnv(t, r, 1, nil)
	const highest = "18446744073709551615-18446744073709551615"
	if err := p.admin.XAdd(ctx, &redis.XAddArgs{
		Stream: p.stream("42"), ID: highest,
		Values: []any{"a", "b"},
	}).Err(); err != nil {
		t.Fatal(err)
	}
	_, err := p.writer(t, outbox.Config{}).Tx(ctx, "42", func(tx *outbox.Tx) error {
		tx.Queue().Incr(ctx, "state")
		return tx.Append(event("42"))
	})
	var partial *outbox.PartialError
	if !errors.As(err, &partial) || partial.Missing != 1 {
		t.Errorf("got %v", err)
	}
}

// TestFailedStateCommand: the event is there, the state is not.
func TestFailedStateCommand(t *testing.T) {
	r := startRedis(t)
	ctx := integration.Context(t, time.Minute)
	p := newTestEnv(t, r, 1, nil)
	p.admin.Set(ctx, "state", "text", 0)
	_, err := p.writer(t, outbox.Config{}).Tx(ctx, "42", func(tx *outbox.Tx) error {
		tx.Queue().Incr(ctx, "state")
		tx.Queue().Get(ctx, "missing") // redis.Nil is no failure
		return tx.Append(event("42"))
	})
	var partial *outbox.PartialError
	if !errors.As(err, &partial) || partial.Missing != 0 || len(partial.Appended) != 1 ||
		len(partial.Failed) != 1 || partial.Failed[0].Command != "incr state" {
		t.Errorf("got %v, %+v", err, partial)
	}
}
