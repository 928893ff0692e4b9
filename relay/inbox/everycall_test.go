package inbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// call decides about one call to a server.
type call struct {
	n     atomic.Int64 // of the calls so far
	fails int64        // the call that fails
	hit   atomic.Bool
	off   atomic.Bool // what the test does itself is spared
}

func (c *call) now() bool {
	if c.off.Load() || c.n.Add(1) != c.fails {
		return false
	}
	c.hit.Store(true)
	return true
}

// kafkaFaults are the ways in which a call to Kafka fails.
var kafkaFaults = map[string]func(l *lab, c *call){
	"refused": func(l *lab, c *call) {
		l.cluster.Fault(kfake.Fault{
			Err: kerr.UnknownServerError, Count: -1,
			When: func(kmsg.Request) bool {
				return c.now()
			},
		})
	},
	"timed out": func(l *lab, c *call) { // and done all the same, where the broker can say so
		l.cluster.Fault(kfake.Fault{Err: kerr.RequestTimedOut, Count: -1, When: func(kmsg.Request) bool {
			return c.now()
		}})
	},
	"disconnected": func(l *lab, c *call) {
		l.cluster.Control(func(kmsg.Request) (kmsg.Response, error, bool) {
			l.cluster.KeepControl()
			if c.now() {
				return nil, errors.New("cut"), true
			}
			return nil, nil, false
		})
	},
}

// redisFaults are the ways in which a call to Redis fails. A MULTI/EXEC is one call.
var redisFaults = map[string]func(l *lab, c *call){
	"refused": func(l *lab, c *call) {
		l.onCall(c, func(p *server.Peer, cmd string, _ []string) {
			if cmd == "EXEC" {
				l.silently(p, "DISCARD")
				p.WriteError("EXECABORT Transaction discarded because of: LOADING Redis is loading the " +
					"dataset in memory")
				return
			}
			p.WriteError("LOADING Redis is loading the dataset in memory")
		})
	},
	"request lost": func(l *lab, c *call) {
		l.onCall(c, func(p *server.Peer, _ string, _ []string) { p.Close() })
	},
	"reply lost": func(l *lab, c *call) {
		l.onCall(c, func(p *server.Peer, cmd string, args []string) {
			l.silently(p, append([]string{cmd}, args...)...)
			p.Close()
		})
	},
}

// onCall has fail answer the call that is to fail. What stands between MULTI and EXEC is no call of
// its own.
func (l *lab) onCall(c *call, fail func(p *server.Peer, cmd string, args []string)) {
	var mu sync.Mutex
	multi := map[*server.Peer]bool{}
	l.on(func(p *server.Peer, cmd string, args ...string) bool {
		mu.Lock()
		queued := multi[p] && cmd != "EXEC"
		multi[p] = cmd == "MULTI" || queued
		mu.Unlock()
		if cmd == "HELLO" || cmd == "MULTI" || queued || !c.now() {
			return false
		}
		fail(p, cmd, args)
		return true
	})
}

// silently runs a command of a connection, with what is queued and watched on it, and throws the
// reply away.
func (l *lab) silently(p *server.Peer, args ...string) {
	silent := server.NewPeer(bufio.NewWriter(io.Discard))
	silent.Ctx = p.Ctx
	l.mini.Server().Dispatch(silent, args)
}

// applyWith runs an inbox over records of three keys, one of which is poison and parks its key,
// with a fault, replays the key, and checks what took effect.
func applyWith(t *testing.T, fault func(l *lab, c *call), n int64) (hit bool) {
	t.Helper()
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.config()
		cfg.OnError, cfg.MaxRecords, cfg.Logger = Park, 4, slog.New(slog.DiscardHandler)
		var broken atomic.Bool
		broken.Store(true)
		cfg.Handle = func(ctx context.Context, tx *Tx, r Record) error {
			if broken.Load() && r.Key == "p" {
				return Poison(errBroken)
			}
			if r.Key == "read" {
				length, err := tx.Read().LLen(ctx, tx.StateKey("seen:read")).Result()
				if err != nil {
					return err
				}
				if string(r.Value) != fmt.Sprint(length) {
					t.Errorf("record %s sees %d before it", r.Value, length)
				}
			}
			return l.tally(ctx, tx, r)
		}
		records := func(from, to int) {
			for i := from; i < to; i++ {
				for _, key := range []string{"a", "p", "read"} {
					l.produce(0, key, i, i+1)
				}
			}
		}
		records(0, 2)
		c := &call{fails: n}
		fault(l, c)
		_, stop := l.start(cfg)
		time.Sleep(20 * time.Second)
		c.off.Store(true)
		records(2, 4)
		c.off.Store(false)
		time.Sleep(20 * time.Second)
		broken.Store(false)
		c.off.Store(true)
		l.dispatch("HSET", keysOf("shipping", "shipping", 0, events, 0).replay, "key:p",
			string(RefuseMissing))
		c.off.Store(false)
		time.Sleep(time.Minute)
		stop()
		hit = c.hit.Load()
		c.off.Store(true)

		for _, key := range []string{"a", "p", "read"} {
			if got := l.seen(0, key); !slices.Equal(got, numbers(0, 4)) {
				t.Errorf("call %d failed: %s has %v", n, key, got)
			}
		}
		pos, err := readPosition(t.Context(), l.redis, keysOf("shipping", "shipping", 0, events, 0))
		if err != nil || pos == nil || pos.Next != 12 || pos.Count != 12 || pos.Letters != 4 {
			t.Errorf("call %d failed: position %+v, %v", n, pos, err)
		}
		if letters := l.letters(cfg); len(letters) != 0 {
			t.Errorf("call %d failed: %d letters are left", n, len(letters))
		}
	})
	return hit
}

// Fail call n, for every n, until a run has fewer calls: whatever fails, each record takes effect
// once, in order, and no call's failure is held against a record.
func TestEveryCallFails(t *testing.T) {
	t.Parallel()
	for server, faults := range map[string]map[string]func(*lab, *call){
		"Kafka": kafkaFaults,
		"Redis": redisFaults,
	} {
		for name, fault := range faults {
			t.Run(server+", "+name, func(t *testing.T) {
				t.Parallel()
				n := int64(1)
				for applyWith(t, fault, n) {
					n++
					if n > 60 { // the start and the first transactions matter most; later calls repeat themselves
						n += n / 4
					}
				}
				if n < 8 {
					t.Errorf("only %d calls were seen", n)
				}
				t.Logf("%d calls", n)
			})
		}
	}
}
