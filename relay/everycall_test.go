package relay

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// call decides about one call to a server; it returns whether it did something about it.
type call struct {
	n     atomic.Int64 // of the calls so far
	fails int64        // the call that fails; 0: none
	hit   atomic.Bool
}

func (c *call) now() bool {
	if c.n.Add(1) != c.fails {
		return false
	}
	c.hit.Store(true)
	return true
}

// kafkaFaults are the ways in which a call to Kafka fails.
var kafkaFaults = map[string]func(l *testEnv, c *call){
	"refused": func(l *testEnv, c *call) {
		l.cluster.Fault(kfake.Fault{
			Err: kerr.UnknownServerError, Count: -1,
			When: func(kmsg.Request) bool {
				return c.now()
			},
		})
	},
	"timed out": func(l *testEnv, c *call) { // and done all the same, where the broker can say so
		l.cluster.Fault(kfake.Fault{Err: kerr.RequestTimedOut, Count: -1, When: func(kmsg.Request) bool {
			return c.now()
		}})
	},
	"disconnected": func(l *testEnv, c *call) {
		l.cluster.Control(func(kmsg.Request) (kmsg.Response, error, bool) {
			l.cluster.KeepControl()
			if c.now() {
				return nil, errors.New("cut"), true
			}
			return nil, nil, false
		})
	},
}

// redisFaults are the ways in which a call to Redis fails.
var redisFaults = map[string]func(l *testEnv, c *call){
	"refused": func(l *testEnv, c *call) {
		l.on(func(p *server.Peer, cmd string, _ ...string) bool {
			if cmd == "HELLO" || !c.now() {
				return false
			}
			p.WriteError("LOADING Redis is loading the dataset in memory")
			return true
		})
	},
	"request lost": func(l *testEnv, c *call) {
		l.on(func(p *server.Peer, _ string, _ ...string) bool {
			if !c.now() {
				return false
			}
			p.Close()
			return true
		})
	},
	"reply lost": func(l *testEnv, c *call) {
		l.on(func(p *server.Peer, cmd string, args ...string) bool {
			// Those that block, and scripts with what they call, belong to their connection.
			if slices.Contains([]string{"HELLO", "XREAD", "XREADGROUP", "EVAL", "EVALSHA"}, cmd) ||
				len(args) > 0 && strings.EqualFold(args[0], "CONSUMERS") || !c.now() {
				return false
			}
			l.mini.Server().Dispatch(server.NewPeer(bufio.NewWriter(io.Discard)),
				append([]string{cmd}, args...))
			p.Close()
			return true
		})
	},
}

// deliverWith runs a relay over four groups of three events and one that cannot be decoded, with a
// fault, and checks what came out.
func deliverWith(t *testing.T, delivery Delivery, fault func(l *testEnv, c *call),
	n int64,
) (hit bool) {
	t.Helper()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		if err := l.cluster.CreateTopic("outbox.event.order", 1, nil); err != nil {
			t.Fatal(err)
		}
		addGroups := func(from, to int) {
			for g := from; g < to; g++ {
				for more := 2; more >= 0; more-- {
					fields := event(fmt.Sprint(3*g+2-more), "k")
					if more > 0 {
						fields = append(fields, "more", strconv.Itoa(more))
					}
					l.add(0, "*", fields...)
				}
			}
		}
		addGroups(0, 2)
		l.add(0, "*", "colour", "red")
		c := &call{fails: n}
		cfg := l.config()
		cfg.Delivery, cfg.Assign = delivery, []int{0}
		fault(l, c)
		r, stop := l.run(cfg)
		time.Sleep(3 * time.Second)
		addGroups(2, 4)
		for deadline := time.Now().Add(5 * time.Minute); r.Status()[0].Position.Count < 13 &&
			time.Now().Before(deadline); {
			time.Sleep(100 * time.Millisecond)
		}
		stop()
		hit = c.hit.Load()
		c.n.Store(1 << 40) // what looks at the result is spared

		var got []string
		for _, rec := range l.all("outbox.event.order") {
			got = append(got, header(rec, "id"))
		}
		dead := l.all("sluice.orders.dlq")
		var want []string
		for i := range 12 {
			want = append(want, strconv.Itoa(i))
		}
		if delivery == DeliveryAtLeastOnce {
			var first []string
			for _, id := range got {
				if !slices.Contains(first, id) {
					first = append(first, id)
				}
			}
			got, dead = first, slices.CompactFunc(dead, func(a, b *kgo.Record) bool {
				return string(a.Key) == string(b.Key)
			})
		}
		if !slices.Equal(got, want) || len(dead) != 1 {
			t.Errorf("call %d failed: %d dead letters and the events %v", n, len(dead), got)
		}
	})
	return hit
}

// Fail call n, for every n, until a run has fewer calls: whatever fails, each event is there once,
// in order.
func TestEveryCallFails(t *testing.T) {
	t.Parallel()
	for _, delivery := range []Delivery{DeliveryExactlyOnce, DeliveryAtLeastOnce} {
		for server, faults := range map[string]map[string]func(*testEnv, *call){
			"Kafka": kafkaFaults,
			"Redis": redisFaults,
		} {
			for name, fault := range faults {
				t.Run(fmt.Sprint(delivery, ", ", server, ", ", name), func(t *testing.T) {
					t.Parallel()
					n := int64(1)
					for deliverWith(t, delivery, fault, n) {
						n++
						if n > 12 { // the start matters most; later calls repeat themselves
							n += n / 4
						}
					}
					if n < 10 {
						t.Errorf("only %d calls were seen", n)
					}
				})
			}
		}
	}
}
