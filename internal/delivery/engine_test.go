package delivery

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Shards that are well share a lane, and become visible in transactions that they share.
func TestShardsShareTransactions(t *testing.T) {
	t.Parallel()
	inLab(t, 8, func(t *testing.T, l *lab) {
		l.topic("events", 3)
		var flows []*flow
		for shard := range 8 {
			f := newFlow(shard)
			f.add(25, place{"events", int32(shard % 3)})
			flows = append(flows, f)
		}
		e, end := l.engine()
		defer end()
		l.run(e, flows...)
		l.delivered(flows...)
		for i := range 20 {
			for _, f := range flows {
				f.add(1, place{"events", int32(i % 3)})
			}
			l.delivered(flows...)
		}
		lanes, shared := map[string]bool{}, 0
		for _, x := range l.transactions() {
			lanes[x.Lane] = true
			if x.Shards > 1 {
				shared++
			}
		}
		if len(lanes) != 1 || shared == 0 {
			t.Errorf("%d lanes, %d of %d transactions are shared", len(lanes), shared, len(l.transactions()))
		}
		for _, f := range flows {
			if n := l.number(e, f.shard); n != 45 {
				t.Errorf("position of shard %d is %d", f.shard, n)
			}
			if told := f.told(); !slices.Equal(told, []string{"starting", "running"}) {
				t.Errorf("shard %d told %q", f.shard, told)
			}
		}
		end()
		l.check(flows...)
		// A position says what its transaction holds.
		g := l.ledger(e, 0)
		p, err := ParsePosition(g.last.Value)
		if err != nil || p.Records != 1 || !p.Wrote.has(place{"events", 19 % 3}) ||
			!p.Before.has(place{"events", 18 % 3}) || p.Lane != flows[0].inLanes()[0] {
			t.Errorf("the last position is %s, %v", g.last.Value, err)
		}
	})
}

// A shard that is given back has withdrawn its claim after its position, so that nobody need fence
// the lane.
func TestRelease(t *testing.T) {
	t.Parallel()
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		a, b := newFlow(0), newFlow(1)
		a.add(5, place{"events", 0})
		b.add(5, place{"events", 0})
		e, end := l.engine()
		defer end()
		l.run(e, a, b)
		l.delivered(a, b)
		if g := l.ledger(e, 0); len(g.live) != 1 {
			t.Errorf("live claims while it runs: %v", g.live)
		}
		e.Remove(0)
		if got := e.Shards(); !slices.Equal(got, []int{1}) {
			t.Errorf("shards %v", got)
		}
		if a.seen().state != Stopped {
			t.Errorf("the shard is %s", a.seen().state)
		}
		g := l.ledger(e, 0)
		if len(g.live) != 0 || g.last == nil {
			t.Errorf("live claims after the release: %v", g.live)
		}

		// The successor fences nobody, and the lane of the neighbour goes on.
		inits := l.seen(kmsg.InitProducerID, func(r kmsg.Request) string {
			return *r.(*kmsg.InitProducerIDRequest).TransactionalID
		})
		later := newFlow(0)
		later.entries = slices.Clone(a.entries)
		later.add(5, place{"events", 0})
		other, endOther := l.engine()
		defer endOther()
		l.run(other, later)
		l.delivered(later)
		for _, id := range inits() {
			if strings.Contains(id, a.inLanes()[0]) {
				t.Errorf("%s was initialised again", id)
			}
		}
		b.add(5, place{"events", 0})
		l.delivered(b)
		if lanes := b.inLanes(); len(lanes) != 1 {
			t.Errorf("the neighbour was seated in %v", lanes)
		}
		endOther()
		end()
		l.check(b, later)
	})
}

// A second engine that believes to own a shard fences the first, whatever that is doing, and
// nothing is lost or doubled.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.topic("events", 2)
		f, neighbour := newFlow(0), newFlow(1)
		first, endFirst := l.engine()
		defer endFirst()
		l.run(first, f, neighbour)
		later := newFlow(0)
		add := func(n int, flows ...*flow) {
			for i := range n {
				for _, f := range flows {
					f.add(1, place{"events", int32(i % 2)})
				}
			}
		}
		add(100, f, later)
		neighbour.add(10, place{"events", 0})
		l.delivered(f, neighbour)
		add(100, f, later)
		second, endSecond := l.engine(func(c *Config) { c.Instance = "relay-2" })
		defer endSecond()
		l.run(second, later)
		add(100, later) // the first one does not see them
		l.until("the newer owner delivers", func() bool { return l.number(second, 0) == 300 })
		add(1, f) // an idle owner learns it with its next transaction
		l.until("the earlier owner knows", func() bool {
			return strings.Contains(strings.Join(f.told(), ","), "fenced")
		})

		first.Remove(0) // the group has spoken
		add(50, later)
		l.until("the newer owner delivers", func() bool { return l.number(second, 0) == 350 })
		neighbour.add(10, place{"events", 0})
		l.delivered(neighbour)
		if lanes := neighbour.inLanes(); len(lanes) < 2 || lanes[0] == lanes[len(lanes)-1] {
			t.Errorf("the neighbour was seated in %v: its lane was fenced", lanes)
		}
		for _, told := range neighbour.told() {
			if strings.Contains(told, "fenced") {
				t.Errorf("the neighbour, which nobody contests, told %q", told)
			}
		}
		endFirst()
		endSecond()
		l.check(later, neighbour)
	})
}

// Two engines that both stay convinced of a shard: each event is there once, in order, and neither
// keeps the other from going on.
func TestContestedShard(t *testing.T) {
	t.Parallel()
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		flows := []*flow{newFlow(0), newFlow(0)}
		for i, f := range flows {
			e, end := l.engine(func(c *Config) { c.Instance = fmt.Sprint("relay-", i) })
			defer end()
			l.run(e, f)
		}
		for range 100 {
			for _, f := range flows {
				f.add(3, place{"events", 0})
			}
			time.Sleep(137 * time.Millisecond)
		}
		e, end := l.engine()
		defer end()
		l.until("everything is delivered", func() bool { return l.number(e, 0) == 300 })
		l.check(flows[0])
		// At most a lane each few seconds.
		if n := len(flows[0].inLanes()) + len(flows[1].inLanes()); n > 40 {
			t.Errorf("%d seats in %s", n, 14*time.Second)
		}
	})
}

// Whatever kills a lane, all its shards are seated anew in another one, at once.
func TestLaneDeath(t *testing.T) {
	t.Parallel()
	inLab(t, 4, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		var flows []*flow
		for shard := range 4 {
			f := newFlow(shard)
			f.add(5, place{"events", 0})
			flows = append(flows, f)
		}
		e, end := l.engine()
		defer end()
		l.run(e, flows...)
		l.delivered(flows...)
		fault := l.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.UnknownServerError,
			TopLevel: true, Count: 1,
		})
		for _, f := range flows {
			f.add(5, place{"events", 0})
		}
		l.delivered(flows...)
		if fault.Hits() != 1 {
			t.Errorf("%d commits have failed", fault.Hits())
		}
		for _, f := range flows {
			if lanes := f.inLanes(); len(lanes) != 2 || lanes[0] == lanes[1] {
				t.Errorf("shard %d was seated in %v", f.shard, lanes)
			}
		}
		if a, b := flows[0].inLanes(), flows[3].inLanes(); a[1] != b[1] {
			t.Errorf("shards are apart after a fault that was no shard's own: %v, %v", a, b)
		}
		end()
		l.check(flows...)
	})
}

// A commit whose answer is lost was done: what it carried is not sent again.
func TestCommitWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	for _, done := range []bool{false, true} {
		t.Run(fmt.Sprint("done: ", done), func(t *testing.T) {
			t.Parallel()
			inLab(t, 1, func(_ *testing.T, l *lab) {
				l.topic("events", 1)
				f := newFlow(0)
				f.add(5, place{"events", 0})
				e, end := l.engine()
				defer end()
				l.run(e, f)
				l.delivered(f)
				cut := errors.New("cut")
				n := 0
				l.cluster.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
					l.cluster.KeepControl()
					n++
					return nil, cut, n == 1 && !done
				})
				if done {
					l.cluster.Fault(kfake.Fault{
						Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.RequestTimedOut,
						TopLevel: true, Count: 1,
					})
				}
				f.add(5, place{"events", 0})
				l.delivered(f)
				end()
				l.check(f)
			})
		})
	}
}

// A pause stops the shard, and gives its seat back; the others go on.
func TestPause(t *testing.T) {
	t.Parallel()
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		a, b := newFlow(0), newFlow(1)
		e, end := l.engine()
		defer end()
		l.run(e, a, b)
		a.add(5, place{"events", 0})
		l.delivered(a)
		a.set(func() { a.paused = true })
		e.Wake()
		l.state(a, Paused)
		if g := l.ledger(e, 0); len(g.live) != 0 {
			t.Errorf("live claims of a paused shard: %v", g.live)
		}
		a.add(5, place{"events", 0})
		b.add(5, place{"events", 0})
		l.delivered(b)
		time.Sleep(time.Minute)
		if a.seen().committed != 5 || a.seen().reason != "by the test" {
			t.Errorf("%d committed, %s: %s", a.seen().committed, a.seen().state, a.seen().reason)
		}
		a.set(func() { a.paused = false })
		e.Wake()
		l.delivered(a)
		if lanes := b.inLanes(); len(lanes) != 1 {
			t.Errorf("the neighbour was seated in %v", lanes)
		}
		end()
		l.check(a, b)
	})
}

// A halt keeps the seat, says why, and ends when the cause has gone.
func TestHalt(t *testing.T) {
	t.Parallel()
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		a, b := newFlow(0), newFlow(1)
		a.failure = &haltError{"the stream is gone"}
		e, end := l.engine()
		defer end()
		l.run(e, a, b)
		l.state(a, Halted)
		b.add(5, place{"events", 0})
		l.delivered(b)
		time.Sleep(time.Minute)
		if a.seen().reason != "the stream is gone" || a.seen().runs < 10 || a.seen().runs > 30 ||
			len(slices.Compact(a.inLanes())) != 1 {
			t.Errorf("%s: %s, looked again %d times in a minute, in the lanes %v", a.seen().state,
				a.seen().reason, a.seen().runs, slices.Compact(a.inLanes()))
		}
		a.set(func() { a.failure = nil })
		a.add(5, place{"events", 0})
		l.delivered(a)
		l.state(a, Running)
		end()
		l.check(a, b)
	})
}

// An error of the source is waited out on the same seat.
func TestSourceError(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		a := newFlow(0)
		a.failure = errors.New("redis: connection refused")
		e, end := l.engine()
		defer end()
		l.run(e, a)
		l.until("it says so", func() bool {
			return slices.Contains(a.told(), "waiting redis: connection refused")
		})
		a.set(func() { a.failure = nil })
		a.add(5, place{"events", 0})
		l.delivered(a)
		if lanes := slices.Compact(a.inLanes()); len(lanes) != 1 {
			t.Errorf("seated in %v", lanes)
		}
		end()
		l.check(a)
	})
}
