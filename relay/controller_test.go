package relay

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"

	"github.com/sluice-outbox/sluice/internal/control"
	"github.com/sluice-outbox/sluice/internal/names"
)

func (l *testEnv) control() *controller {
	cfg := l.config().withDefaults()
	return newController(&cfg)
}

// follow runs a controller for the rest of the bubble's test; end waits for it.
func (c *controller) follow(t *testing.T, current func() []ShardStatus,
	changed func(),
) (end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.run(ctx, time.Second, current, changed) }()
	return func() { cancel(); <-done }
}

func TestControlPauses(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 2, func(t *testing.T, l *testEnv) {
		c := l.control()
		var changed atomic.Int64
		defer c.follow(t, func() []ShardStatus { return nil }, func() { changed.Add(1) })()
		key := names.ControlKey(l.outbox)

		time.Sleep(10 * time.Second)
		if _, paused := c.paused(1); paused || changed.Load() != 0 {
			t.Error("paused without a reason")
		}
		l.mini.HSet(key, "pause:1", `{"by":"ops"}`)
		time.Sleep(1100 * time.Millisecond)
		if reason, paused := c.paused(1); !paused || reason != "paused by ops" || changed.Load() != 1 {
			t.Errorf("shard 1: %q, %v; told of %d changes", reason, paused, changed.Load())
		}
		if _, paused := c.paused(2); paused {
			t.Error("shard 2 is paused")
		}
		time.Sleep(10 * time.Second)
		if changed.Load() != 1 {
			t.Errorf("told of %d changes, there was one", changed.Load())
		}
		l.mini.HSet(key, "pause", `{"reason":"all of them"}`)
		time.Sleep(1100 * time.Millisecond)
		if reason, paused := c.paused(2); !paused || reason != "paused: all of them" ||
			changed.Load() != 2 {
			t.Errorf("shard 2: %q, %v; told of %d changes", reason, paused, changed.Load())
		}
		l.mini.HSet(key, "pause:3", "")
		time.Sleep(1100 * time.Millisecond)
		l.mini.HDel(key, "pause")
		time.Sleep(1100 * time.Millisecond)
		if _, paused := c.paused(2); paused || changed.Load() != 4 {
			t.Errorf("shard 2 is paused: %v; told of %d changes", paused, changed.Load())
		}
		if reason, paused := c.paused(3); !paused || reason != "paused" {
			t.Errorf("shard 3: %q, %v", reason, paused)
		}
		l.mini.Del(key)
		time.Sleep(1100 * time.Millisecond)
		for shard := range 4 {
			if _, paused := c.paused(shard); paused {
				t.Errorf("shard %d is still paused", shard)
			}
		}
	})
}

func (l *testEnv) told(t *testing.T, shard int) control.Report {
	t.Helper()
	var st control.Report
	if text := l.mini.HGet(names.StatusKey(l.outbox), fmt.Sprint(shard)); text != "" {
		if err := json.Unmarshal([]byte(text), &st); err != nil {
			t.Fatal(err)
		}
	}
	return st
}

func TestControlTells(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 2, func(t *testing.T, l *testEnv) {
		c := l.control()
		var state atomic.Value
		state.Store(StateRunning)
		since := time.Now()
		current := func() []ShardStatus {
			return []ShardStatus{{Shard: 1, State: state.Load().(State), Since: since}}
		}
		end := c.follow(t, current, func() {})
		time.Sleep(100 * time.Millisecond)
		c.tell(ShardStatus{Shard: 1, State: StateStarting, Since: since})
		synctest.Wait() // told at once, not at the next tick
		want := control.Report{
			Shard: 1, State: string(StateStarting), Instance: "relay-1",
			Delivery: "exactly-once", SinceMS: since.UnixMilli(), AtMS: since.UnixMilli() + 100,
		}
		if got := l.told(t, 1); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		halt := ShardStatus{
			Shard: 0, State: StateHalted, Since: since, Reason: "r", Entry: "5-0",
			Expected: "e", Found: "f",
		}
		c.tell(ShardStatus{Shard: 0, State: StateRunning})
		c.tell(halt) // the newest of a shard counts
		synctest.Wait()
		if got := l.told(t, 0); got.State != string(StateHalted) || got.Reason != "r" ||
			got.Entry != "5-0" || got.Expected != "e" || got.Found != "f" {
			t.Errorf("got %+v", got)
		}

		// Somebody else writes over it, or the hash is lost: told again within seconds.
		l.mini.Del(names.StatusKey(l.outbox))
		time.Sleep(2 * heartbeat * time.Second)
		if got := l.told(t, 1); got.State != string(StateRunning) ||
			time.Since(time.UnixMilli(got.AtMS)) > 2*heartbeat*time.Second {
			t.Errorf("got %+v", got)
		}

		// The last words of a relay that ends are written.
		state.Store(StateStopped)
		c.tell(ShardStatus{Shard: 1, State: StateStopped, Since: since})
		end()
		if got := l.told(t, 1); got.State != string(StateStopped) {
			t.Errorf("after the end: %+v", got)
		}
	})
}

// No promise rests on the hashes: what cannot be written is kept, logged once, and written later.
func TestControlWithoutRedis(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 2, func(t *testing.T, l *testEnv) {
		var broken atomic.Bool
		broken.Store(true)
		l.on(func(c *server.Peer, cmd string, _ ...string) bool {
			if broken.Load() && (cmd == "HSET" || cmd == "HGETALL") {
				c.WriteError("LOADING Redis is loading the dataset in memory")
				return true
			}
			return false
		})
		var log strings.Builder
		cfg := l.config()
		cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		cfg = cfg.withDefaults()
		c := newController(&cfg)
		end := c.follow(t, func() []ShardStatus { return nil }, func() {})
		c.tell(ShardStatus{Shard: 0, State: StateStarting})
		time.Sleep(time.Minute)
		c.tell(ShardStatus{Shard: 0, State: StateRunning})
		time.Sleep(time.Minute)
		if got := l.told(t, 0); got.State != "" {
			t.Errorf("got %+v", got)
		}
		broken.Store(false)
		time.Sleep(5 * time.Second)
		if got := l.told(t, 0); got.State != string(StateRunning) {
			t.Errorf("got %+v", got)
		}
		end()
		if n := strings.Count(log.String(), "\n"); n != 1 {
			t.Errorf("%d lines were logged:\n%s", n, log.String())
		}
	})
}
