//go:build integration

package outbox_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/outbox"
)

// ways are all ways to commit one event beside an increment. Every way runs once; safe ones can be
// repeated by whoever got an unknown outcome.
var ways = map[string]struct {
	safe bool
	run  func(ctx context.Context, p *testEnv, w *outbox.Writer) error
}{
	"Tx": {false, func(ctx context.Context, p *testEnv, w *outbox.Writer) error {
		_, err := w.Tx(ctx, "42", p.count(ctx, "42"))
		return err
	}},
	"Tx with watch": {false, func(ctx context.Context, p *testEnv, w *outbox.Writer) error {
		_, err := w.Tx(ctx, "42", p.count(ctx, "42"), outbox.WithWatch(p.state("42")))
		return err
	}},
	"Tx with idempotency key": {true, func(ctx context.Context, p *testEnv, w *outbox.Writer) error {
		_, err := w.Tx(ctx, "42", p.count(ctx, "42"), outbox.WithIdempotencyKey("request"))
		return err
	}},
	"Append": {false, func(ctx context.Context, p *testEnv, w *outbox.Writer) error {
		pipe := p.client.TxPipeline()
		pipe.Incr(ctx, p.state("42"))
		appended, err := w.Append(ctx, pipe, event("42"))
		if err != nil {
			return err
		}
		_, _ = pipe.Exec(ctx)
		return appended.Err()
	}},
	"Idempotent": {true, func(ctx context.Context, p *testEnv, w *outbox.Writer) error {
		var appended *outbox.Appended
		err := p.client.Watch(ctx, func(conn *redis.Tx) error {
			idem, err := w.Idempotent(ctx, conn, "42", "request")
			if err != nil || idem.Done() {
				return err
			}
			_, err = conn.TxPipelined(ctx, func(pipe redis.Pipeliner) (err error) {
				pipe.Incr(ctx, p.state("42"))
				appended, err = idem.Append(ctx, pipe, event("42"))
				return err
			})
			return err
		}, p.state("42"))
		if appended != nil {
			return appended.Err()
		}
		return err
	}},
}

// TestEveryCallLost loses every command of every way once, its request or its reply, under a client
// that repeats what it may, as go-redis does by default. Never is a transaction committed twice,
// and never is its outcome misreported.
func TestEveryCallLost(t *testing.T) {
	r := startRedis(t)
	for name, way := range ways {
		for _, mode := range []integration.FaultMode{integration.RequestLost, integration.ReplyLost} {
			t.Run(name+", "+mode.String(), func(t *testing.T) {
				t.Parallel()
				ctx := integration.Context(t, time.Minute)
				faults := integration.RedisFaults()
				failed, err := faults.EachCall(mode, 100, func(int) error {
					p := newTestEnv(t, r, 1, func(o *redis.Options) { o.Dialer = faults.Dial })
					w := p.writer(t, outbox.Config{})
					err := way.run(ctx, p, w)
					n := p.committed(t, "42")
					switch got := outbox.OutcomeOf(err); {
					case n > 1:
						t.Errorf("committed %d times; %v", n, err)
					case got == outbox.Committed && n != 1, got == outbox.NotCommitted && n != 0:
						t.Errorf("committed %d times, the error says %v: %v", n, got, err)
					}
					if err == nil || !way.safe {
						return nil
					}
					if err := way.run(ctx, p, w); err != nil {
						t.Errorf("the repetition failed: %v", err)
					}
					if n := p.committed(t, "42"); n != 1 {
						t.Errorf("committed %d times after a repetition", n)
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				if failed < 5 {
					t.Errorf("only %d calls failed: the test does not reach EXEC", failed)
				}
				t.Logf("%d calls lost in turn", failed)
			})
		}
	}
}

// slow is the configuration of a server that a transaction can keep busy, so that the client gives
// up although the transaction will be committed.
const slow = "enable-debug-command yes"

// warm opens connections, so that a repetition need not wait for a busy server to greet it.
func warm(ctx context.Context, t *testing.T, client redis.UniversalClient, conns int) {
	t.Helper()
	err := client.Watch(ctx, func(*redis.Tx) error {
		if conns > 1 {
			warm(ctx, t, client, conns-1)
		}
		return nil
	}, "warm")
	if err != nil {
		t.Fatal(err)
	}
}

// TestExecTimesOut: the reply comes after the client's time-out. go-redis would repeat an ordinary
// command now.
func TestExecTimesOut(t *testing.T) {
	r := startRedis(t, slow)
	const timeout, busy = 300 * time.Millisecond, 0.75
	for name, c := range map[string]struct {
		option outbox.TxOption
		want   error
	}{
		"once":                 {outbox.WithWatch(), outbox.ErrUnknownOutcome},
		"with watch":           {outbox.WithWatch("w"), outbox.ErrUnknownOutcome},
		"with idempotency key": {outbox.WithIdempotencyKey("request"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := integration.Context(t, time.Minute)
			p := newTestEnv(t, r, 1, func(o *redis.Options) {
				o.ReadTimeout, o.PipelinePoolSize = timeout, -1
			})
			warm(ctx, t, p.client, 6)
			w := p.writer(t, outbox.Config{})
			run := func() (outbox.Result, error) {
				return w.Tx(ctx, "42", func(tx *outbox.Tx) error {
					tx.Queue().Do(ctx, "debug", "sleep", busy)
					return p.count(ctx, "42")(tx)
				}, c.option)
			}
			res, err := run()
			for c.want == nil && errors.Is(err, outbox.ErrUnknownOutcome) && ctx.Err() == nil {
				res, err = run() // a machine so slow that the writer's own repetitions were not enough
			}
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if c.want == nil && (!res.AlreadyAppended || len(res.Events) != 1) {
				t.Errorf("%+v", res)
			}
			p.drain(ctx, t)
			if n := p.committed(t, "42"); n != 1 {
				t.Errorf("committed %d times", n)
			}
		})
	}
}

// TestPipelineIsRepeated is the control of TestExecTimesOut: without MULTI the same client does
// repeat, and the test would have seen it.
func TestPipelineIsRepeated(t *testing.T) {
	r := startRedis(t, slow)
	ctx := integration.Context(t, time.Minute)
	p := newTestEnv(t, r, 1, func(o *redis.Options) {
		o.ReadTimeout, o.PipelinePoolSize = 300*time.Millisecond, -1
	})
	warm(ctx, t, p.client, 6)
	_, _ = p.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: p.stream("42"), Values: []any{"a", "b"}})
		pipe.Do(ctx, "debug", "sleep", 0.75)
		return nil
	})
	p.drain(ctx, t)
	if n, err := p.admin.XLen(ctx, p.stream("42")).Result(); err != nil || n < 2 {
		t.Errorf("%d entries, %v: this client does not repeat commands after a time-out", n, err)
	}
}

// TestHalfOpenConnection: the network swallows everything, in both directions, without a word.
func TestHalfOpenConnection(t *testing.T) {
	r := startRedis(t)
	ctx := integration.Context(t, time.Minute)
	proxy, err := servers.NewProxy(r.Addr)
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, proxy)
	p := newTestEnv(t, r, 1, func(o *redis.Options) {
		o.Addr, o.ReadTimeout = proxy.Addr(), 300*time.Millisecond
	})
	w := p.writer(t, outbox.Config{})
	if _, err := w.Tx(ctx, "42", p.count(ctx, "42")); err != nil {
		t.Fatal(err)
	}
	proxy.HalfOpen()
	if _, err := w.Tx(ctx, "42", p.count(ctx, "42")); !errors.Is(err, outbox.ErrUnknownOutcome) {
		t.Errorf("got %v", err)
	}
	proxy.Heal()
	proxy.Reset()
	if n := p.committed(t, "42"); n != 1 {
		t.Errorf("committed %d times", n)
	}
	if _, err := w.Tx(ctx, "42", p.count(ctx, "42")); err != nil {
		t.Errorf("after the network is well again: %v", err)
	}
}
