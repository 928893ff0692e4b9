package relay

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/outbox"
)

// reads counts the XREADs that Redis is asked, and the streams of the largest.
func (l *testEnv) reads() func() (asked, streams int) {
	var mu sync.Mutex
	var asked, most int
	l.on(func(_ *server.Peer, cmd string, args ...string) bool {
		if cmd == "XREAD" {
			mu.Lock()
			defer mu.Unlock()
			for i, arg := range args {
				if strings.EqualFold(arg, "STREAMS") {
					most = max(most, (len(args)-i-1)/2)
				}
			}
			asked++
		}
		return false
	})
	return func() (int, int) {
		mu.Lock()
		defer mu.Unlock()
		n, m := asked, most
		asked, most = 0, 0
		return n, m
	}
}

// Quiet streams are waited for with one command, busy ones with one of their own.
func TestQuietStreamsShareARead(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 20, func(t *testing.T, l *testEnv) {
		r, stop := l.run(l.config())
		defer stop()
		for shard := range 20 {
			l.until(r, shard, StateRunning)
		}
		time.Sleep(2 * quietAfter)
		reads := l.reads()
		time.Sleep(10 * time.Second)
		if asked, streams := reads(); streams != 20 || asked > 2*10*int(time.Second/roundBlock) {
			t.Errorf("asked %d times in 10 seconds, for %d streams at once", asked, streams)
		}
		// An entry in a quiet stream is not late.
		began := time.Now()
		last := l.add(7, "*", event("e", "k")...)
		l.position(7, last)
		if took := time.Since(began); took > 50*time.Millisecond {
			t.Errorf("delivered after %s", took)
		}
		reads()
		time.Sleep(quietAfter / 2)
		if _, streams := reads(); streams != 19 {
			t.Errorf("%d streams share a read, one of 20 is not quiet", streams)
		}
		time.Sleep(2 * quietAfter)
		reads()
		time.Sleep(2 * roundBlock)
		if _, streams := reads(); streams != 20 {
			t.Errorf("%d of 20 quiet streams share a read", streams)
		}
	})
}

// A stream that waits with others returns when it has an entry, when the round fails, and with its
// context.
func TestWaiterWakes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		then  func(l *testEnv)
		woken int
	}{
		"an entry": {func(l *testEnv) { l.addEvents(0, 0, 1) }, 1},
		"nothing":  {func(*testEnv) {}, 0},
		"a round that fails": {func(l *testEnv) {
			l.on(func(c *server.Peer, cmd string, _ ...string) bool {
				if cmd == "XREAD" {
					c.WriteError("LOADING Redis is loading the dataset in memory")
				}
				return cmd == "XREAD"
			})
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inTestEnv(t, 2, func(t *testing.T, l *testEnv) {
				w := newWaiter(l.redis)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var wg sync.WaitGroup
				defer wg.Wait()
				wg.Go(func() { w.run(ctx) })
				done := make(chan error, 2)
				for shard := range 2 {
					wg.Go(func() {
						done <- w.wait(ctx, newStreamReader(l.redis, shard, l.stream(shard)), outbox.EntryID{})
					})
				}
				time.Sleep(quietAfter + 2*roundBlock)
				synctest.Wait()
				if n := len(w.waiting); n != 2 {
					t.Errorf("%d streams wait together", n)
				}
				c.then(l)
				woken := 0
				for range 2 {
					select {
					case err := <-done:
						if err != nil {
							t.Errorf("got %v", err)
						}
						woken++
					case <-time.After(2 * roundBlock):
					}
				}
				if woken != c.woken {
					t.Errorf("%d of 2 are woken, want %d", woken, c.woken)
				}
				cancel()
				synctest.Wait()
				if n := len(w.waiting); n != 0 {
					t.Errorf("%d streams wait with a context that has ended", n)
				}
			})
		})
	}
}

func TestWaiterNeedsOneServer(t *testing.T) {
	t.Parallel()
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}})
	defer func() {
		if err := cluster.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
			t.Error(err)
		}
	}()
	if newWaiter(cluster) != nil {
		t.Error("a cluster takes no command over several slots")
	}
}
