package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A shard with a backlog leaves its neighbours for a lane for backlogs, and comes back when it has
// none.
func TestBacklogMoves(t *testing.T) {
	t.Parallel()
	inLab(t, 4, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		var flows []*flow
		for shard := range 4 {
			f := newFlow(shard)
			f.size = 500
			flows = append(flows, f)
		}
		e, end := l.engine(func(c *Config) { c.Linger = 50 * time.Millisecond }) // the stand-in takes no time
		defer end()
		l.run(e, flows...)
		behind, others := flows[0], flows[1:]
		for _, f := range others {
			f.add(1, place{"events", 0})
		}
		l.delivered(others...)
		behind.add(60_000, place{"events", 0})
		kinds := func() (kinds []string) {
			e.mu.Lock()
			o := e.owned[0]
			e.mu.Unlock()
			o.shard.mu.Lock()
			defer o.shard.mu.Unlock()
			if seat := o.shard.seat; seat != nil {
				return []string{seat.lane.kind.String()}
			}
			return nil
		}
		var seen []string
		for range 100 {
			began := time.Now()
			for _, f := range others {
				f.add(1, place{"events", 0})
			}
			l.delivered(others...)
			if took := time.Since(began); took > 300*time.Millisecond {
				t.Errorf("the others wait for %s", took)
			}
			seen = slices.Compact(append(seen, kinds()...))
			time.Sleep(50 * time.Millisecond)
		}
		l.delivered(behind)
		for range 100 {
			seen = slices.Compact(append(seen, kinds()...))
			time.Sleep(50 * time.Millisecond)
		}
		if !slices.Equal(seen, []string{"main", "backlog", "main"}) {
			t.Errorf("it was in lanes of the kinds %v", seen)
		}
		for _, f := range others {
			if lanes := f.inLanes(); len(lanes) != 1 {
				t.Errorf("shard %d was seated in %v", f.shard, lanes)
			}
		}
		end()
		l.check(flows...)
	})
}

// Among shards that all have a backlog nobody leaves.
func TestBacklogAmongItsLike(t *testing.T) {
	t.Parallel()
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		a, b := newFlow(0), newFlow(1)
		e, end := l.engine(func(c *Config) { c.Linger, c.MaxEntries = 200*time.Millisecond, 2000 })
		defer end()
		for _, f := range []*flow{a, b} {
			f.size = 500
			f.add(20_000, place{"events", 0})
		}
		l.run(e, a, b)
		time.Sleep(3 * time.Second) // of four
		if a.seen().committed == 20_000 || b.seen().committed == 20_000 {
			t.Error("the backlog was too small to show anything")
		}
		if len(a.inLanes()) != 1 || len(b.inLanes()) != 1 {
			t.Errorf("seated in %v and %v", a.inLanes(), b.inLanes())
		}
		l.delivered(a, b)
		end()
		l.check(a, b)
	})
}

// How long a shard has to be well before it goes back doubles with each relapse, up to a bound, and
// is as short as at first after a long time without trouble.
func TestCalmDoubles(t *testing.T) {
	t.Parallel()
	h := newShard(&Engine{}, 0, noSource{})
	h.inTrouble()
	if h.kind != alone || h.calm != calmAfter {
		t.Errorf("in a lane of kind %v, calm after %s", h.kind, h.calm)
	}
	for want := 2 * calmAfter; want < mostCalm; want *= 2 {
		h.kind = main // it went back
		h.inTrouble()
		if h.calm != want {
			t.Errorf("calm after %s, want %s", h.calm, want)
		}
	}
	for range 10 {
		h.inTrouble()
	}
	if h.calm != mostCalm {
		t.Errorf("calm after %s, want %s", h.calm, mostCalm)
	}
	h.kind, h.trouble = main, time.Now().Add(-3*mostCalm)
	h.inTrouble()
	if h.calm != calmAfter {
		t.Errorf("calm after %s long after the last trouble", h.calm)
	}
}

// Shards that start together share the transactions of their claims.
func TestClaimsShareTransactions(t *testing.T) {
	t.Parallel()
	inLab(t, 64, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		var flows []*flow
		for shard := range 64 {
			flows = append(flows, newFlow(shard))
		}
		commits := l.seen(kmsg.EndTxn, func(kmsg.Request) string { return "end" })
		e, end := l.engine()
		defer end()
		l.run(e, flows...)
		for _, f := range flows {
			l.state(f, Running)
		}
		if n := len(commits()); n > 16 {
			t.Errorf("%d transactions for 64 claims", n)
		}
		// And those of a take-over.
		before := len(commits())
		other, endOther := l.engine()
		defer endOther()
		var later []*flow
		for shard := range 64 {
			later = append(later, newFlow(shard))
		}
		l.run(other, later...)
		for _, f := range later {
			l.state(f, Running)
		}
		if n := len(commits()) - before; n > 64 { // each for itself would make 128 and more
			t.Errorf("%d transactions for taking 64 shards over", n)
		}
	})
}

// Several lanes share the shards, and each begins its transactions no more often than told.
func TestLanesAndLinger(t *testing.T) {
	t.Parallel()
	inLab(t, 6, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		var flows []*flow
		for shard := range 6 {
			flows = append(flows, newFlow(shard))
		}
		e, end := l.engine(func(c *Config) { c.Lanes, c.Linger = 3, 200*time.Millisecond })
		defer end()
		l.run(e, flows...)
		for _, f := range flows {
			l.state(f, Running)
		}
		l.mu.Lock()
		l.txs = nil
		l.mu.Unlock()
		for range 100 {
			for _, f := range flows {
				f.add(1, place{"events", 0})
			}
			time.Sleep(10 * time.Millisecond)
		}
		l.delivered(flows...)
		lanes := map[string]int{}
		for _, x := range l.transactions() {
			lanes[x.Lane]++
		}
		if len(lanes) != 3 {
			t.Errorf("%d lanes", len(lanes))
		}
		for lane, n := range lanes {
			if n > 7 {
				t.Errorf("lane %s has made %d transactions in a second", lane, n)
			}
		}
		for i, f := range flows {
			if f.inLanes()[0] != flows[i%3].inLanes()[0] {
				t.Errorf("shard %d is in another lane than shard %d", i, i%3)
			}
		}
		end()
		l.check(flows...)
	})
}

// What one shard may not send is its own trouble.
func TestTopicDenied(t *testing.T) {
	t.Parallel()
	inLab(t, 3, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		l.topic("secret", 1)
		var failed []string
		denied := l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "secret", Err: kerr.TopicAuthorizationFailed, Count: -1})
		e, end := l.engine(func(c *Config) {
			c.Failed = func(topic string) { l.mu.Lock(); defer l.mu.Unlock(); failed = append(failed, topic) }
		})
		defer end()
		flows := []*flow{newFlow(0), newFlow(1), newFlow(2)}
		l.run(e, flows...)
		flows[0].add(5, place{"secret", 0})
		for range 20 {
			for _, f := range flows[1:] {
				f.add(1, place{"events", 0})
			}
			l.delivered(flows[1:]...)
			time.Sleep(time.Second)
		}
		if flows[0].seen().state != Waiting || !strings.Contains(flows[0].seen().reason, "topic secret, partition 0: TOPIC_AUTHORIZATION_FAILED") {
			t.Errorf("%s: %s", flows[0].seen().state, flows[0].seen().reason)
		}
		for _, f := range flows[1:] {
			if lanes := f.inLanes(); len(lanes) > 2 {
				t.Errorf("shard %d was seated in %v", f.shard, lanes)
			}
		}
		if n := len(flows[0].inLanes()); n > 15 {
			t.Errorf("seated %d times in 20 seconds", n)
		}
		denied.Remove()
		l.delivered(flows[0])
		l.mu.Lock()
		if len(failed) == 0 || slices.ContainsFunc(failed, func(topic string) bool { return topic != "secret" }) {
			t.Errorf("told of failures in %v", failed)
		}
		l.mu.Unlock()
		end()
		l.check(flows...)
	})
}

// A shard that has work and does not move says what it waits for, and since when.
func TestStillShardsSayWhy(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		e, end := l.engine()
		defer end()
		f := newFlow(0)
		l.run(e, f)
		l.state(f, Running)
		wake := make(chan struct{})
		l.cluster.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
			l.cluster.SleepControl(func() { <-wake })
			return nil, nil, false
		})
		f.add(1, place{"events", 0})
		time.Sleep(stillAfter + 2*watchInterval)
		if f.seen().state != Waiting || !strings.Contains(f.seen().reason, "a commit waits for the transaction coordinator's answer since 00:00:0") {
			t.Errorf("%s: %s", f.seen().state, f.seen().reason)
		}
		close(wake)
		l.delivered(f)
		l.state(f, Running)
	})
}

// A position that this version cannot read is no position of 0.
func TestUnknownPosition(t *testing.T) {
	t.Parallel()
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		k := keys{labOutbox, labTopic, 0}
		write := func(value string) {
			t.Helper()
			client, err := kgo.NewClient(append(slices.Clone(l.opts), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if err := client.ProduceSync(t.Context(), k.position([]byte(value))).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		write(`{"v":9,"position":{"n":3}}`)
		e, end := l.engine()
		defer end()
		f, other := newFlow(0), newFlow(1)
		f.add(5, place{"events", 0})
		l.run(e, f, other)
		l.until("it says so", func() bool { return strings.Contains(strings.Join(f.told(), ","), "version 9") })
		time.Sleep(time.Minute)
		if n := len(l.all("events")); n != 0 {
			t.Errorf("%d records behind a position that nobody knows", n)
		}
		if lanes := other.inLanes(); len(lanes) != 1 {
			t.Errorf("another shard was seated in %v", lanes)
		}
		value, err := json.Marshal(Position{V: RecordVersion, Lane: "l", Position: json.RawMessage(`{"n":3}`)})
		if err != nil {
			t.Fatal(err)
		}
		write(string(value))
		l.until("it is delivered", func() bool { return l.number(e, 0) == 5 })
		if n := len(l.all("events")); n != 2 {
			t.Errorf("%d records, want those behind the position", n)
		}
	})
}

// A shard whose ownership is in doubt takes no seat; one that has a seat goes on.
func TestSuspend(t *testing.T) {
	t.Parallel()
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		a, b := newFlow(0), newFlow(1)
		e, end := l.engine()
		defer end()
		l.run(e, a)
		l.state(a, Running)
		e.Suspend("nobody knows whose it is")
		l.run(e, b)
		l.state(b, Waiting)
		for _, f := range []*flow{a, b} {
			f.add(5, place{"events", 0})
		}
		l.delivered(a)
		time.Sleep(time.Minute)
		if b.seen().committed != 0 || b.seen().reason != "nobody knows whose it is" {
			t.Errorf("%d committed, %s: %s", b.seen().committed, b.seen().state, b.seen().reason)
		}
		// Nor a new one, when the lane has ended.
		l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.UnknownServerError, TopLevel: true, Count: 1})
		a.add(5, place{"events", 0})
		l.state(a, Waiting)
		time.Sleep(time.Minute)
		if a.seen().committed != 5 {
			t.Errorf("%d committed", a.seen().committed)
		}
		e.Resume()
		l.delivered(a, b)
		end()
		l.check(a, b)
	})
}

// A source that gave its seat back is not fenced by the shard's next owner, so it ends when ownership is in doubt.
func TestSuspendWithoutSeat(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		f := newFlow(0)
		f.alone = true
		working := func() (yes bool) {
			f.set(func() { yes = f.working })
			return yes
		}
		e, end := l.engine()
		defer end()
		l.run(e, f)
		l.until("the source works", working)
		e.Wake() // nothing is in doubt
		time.Sleep(time.Second)
		if runs := f.seen().runs; runs != 1 {
			t.Errorf("it ran %d times", runs)
		}
		e.Suspend("nobody knows whose it is")
		l.until("the source has ended", func() bool { return !working() })
		l.state(f, Waiting)
		time.Sleep(time.Minute)
		if f.seen().runs != 1 {
			t.Errorf("it ran again: %q", f.told())
		}
		e.Resume()
		l.until("the source works again", working)
	})
}

func TestAddAndRemove(t *testing.T) {
	t.Parallel()
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		e, end := l.engine()
		a := newFlow(0)
		made := 0
		for range 3 {
			e.Add(context.Background(), 0, func() Source { made++; return a })
		}
		if made != 1 || !slices.Equal(e.Shards(), []int{0}) {
			t.Errorf("%d sources were made, shards %v", made, e.Shards())
		}
		e.Remove(7)
		a.add(3, place{"events", 0})
		l.delivered(a)
		e.Remove(0)
		e.Remove(0)
		if len(e.Shards()) != 0 || a.seen().state != Stopped {
			t.Errorf("shards %v, %s", e.Shards(), a.seen().state)
		}
		// The context that it was added with ends it as well.
		ctx, cancel := context.WithCancel(context.Background())
		b := newFlow(1)
		e.Add(ctx, 1, func() Source { return b })
		l.state(b, Running)
		cancel()
		l.state(b, Stopped)
		if g := l.ledger(e, 1); len(g.live) != 0 {
			t.Errorf("live claims %v", g.live)
		}
		end()
		e.Add(context.Background(), 0, func() Source { made++; return a })
		if made != 1 || len(e.Shards()) != 0 {
			t.Error("a closed engine takes a shard")
		}
	})
}

// An end takes no longer than the drain, whatever Kafka does.
func TestCloseWithoutKafka(t *testing.T) {
	t.Parallel()
	inLab(t, 3, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		var flows []*flow
		for shard := range 3 {
			f := newFlow(shard)
			f.add(1, place{"events", 0})
			flows = append(flows, f)
		}
		e, end := l.engine(func(c *Config) { c.DrainTimeout = 3 * time.Second })
		l.run(e, flows...)
		l.delivered(flows...)
		l.cluster.Close()
		for _, f := range flows {
			f.add(1, place{"events", 0})
		}
		time.Sleep(time.Second)
		began := time.Now()
		end()
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("it took %s", took)
		}
		for _, f := range flows {
			if f.seen().state != Stopped {
				t.Errorf("shard %d is %s: %s", f.shard, f.seen().state, f.seen().reason)
			}
		}
	})
}

// A lane that cannot give a shard back ends: a lane that stops a shard releases it or dies.
func TestReleaseFails(t *testing.T) {
	t.Parallel()
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		a, b := newFlow(0), newFlow(1)
		e, end := l.engine(func(c *Config) { c.DrainTimeout = 2 * time.Second })
		defer end()
		l.run(e, a, b)
		l.state(a, Running)
		l.state(b, Running)
		stall := l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: labTopic, Partitions: []int32{0}, Err: kerr.NotLeaderForPartition, Count: -1})
		began := time.Now()
		e.Remove(0)
		if took := time.Since(began); took < 2*time.Second || took > 5*time.Second {
			t.Errorf("it took %s", took)
		}
		stall.Remove()
		b.add(5, place{"events", 0})
		l.delivered(b)
		if lanes := b.inLanes(); len(lanes) != 2 {
			t.Errorf("the neighbour was seated in %v", lanes)
		}
		if g := l.ledger(e, 0); len(g.live) != 1 || g.live[0].lane != a.inLanes()[0] {
			t.Errorf("live claims %v", g.live)
		}
		end()
		l.check(b)
	})
}

// The positions of many shards are set in transactions that they share.
func TestSetMany(t *testing.T) {
	t.Parallel()
	inLab(t, 40, func(t *testing.T, l *lab) {
		e, end := l.engine()
		defer end()
		commits := l.seen(kmsg.EndTxn, func(kmsg.Request) string { return "end" })
		var shards []int
		for shard := range 40 {
			shards = append(shards, shard)
		}
		err := e.Set(t.Context(), shards, func(shard int, record []byte) ([]byte, error) {
			if record != nil {
				return nil, fmt.Errorf("shard %d has %s", shard, record)
			}
			return json.Marshal(numbered{shard + 1})
		})
		if err != nil {
			t.Fatal(err)
		}
		for shard := range 40 {
			if n := l.number(e, shard); n != shard+1 {
				t.Errorf("shard %d is at %d", shard, n)
			}
			if g := l.ledger(e, shard); len(g.live) != 0 {
				t.Errorf("live claims of shard %d: %v", shard, g.live)
			}
		}
		if n := len(commits()); n >= 3*40 {
			t.Errorf("%d transactions, none is shared", n)
		}
	})
}
