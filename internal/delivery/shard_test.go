package delivery

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

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

// Several lanes share the shards, and each begins its transactions no more often than Linger
// allows.
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
		denied := l.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.Produce}, Topic: "secret",
			Err: kerr.TopicAuthorizationFailed, Count: -1,
		})
		e, end := l.engine(func(c *Config) {
			c.Failed = func(topic string) {
				l.mu.Lock()
				defer l.mu.Unlock()
				failed = append(failed, topic)
			}
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
		if flows[0].seen().state != Waiting ||
			!strings.Contains(flows[0].seen().reason,
				"topic secret, partition 0: TOPIC_AUTHORIZATION_FAILED") {
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
		if len(failed) == 0 || slices.ContainsFunc(failed, func(topic string) bool {
			return topic != "secret"
		}) {
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
		if f.seen().state != Waiting ||
			!strings.Contains(f.seen().reason,
				"a commit waits for the transaction coordinator's answer since 00:00:0") {
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
			client, err := kgo.NewClient(
				append(slices.Clone(l.opts), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
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
		l.until("it says so", func() bool {
			return strings.Contains(strings.Join(f.told(), ","), "version 9")
		})
		time.Sleep(time.Minute)
		if n := len(l.all("events")); n != 0 {
			t.Errorf("%d records after a position that nobody knows", n)
		}
		if lanes := other.inLanes(); len(lanes) != 1 {
			t.Errorf("another shard was seated in %v", lanes)
		}
		value, err := json.Marshal(Position{
			V: RecordVersion, Lane: "l",
			Position: json.RawMessage(`{"n":3}`),
		})
		if err != nil {
			t.Fatal(err)
		}
		write(string(value))
		l.until("it is delivered", func() bool { return l.number(e, 0) == 5 })
		if n := len(l.all("events")); n != 2 {
			t.Errorf("%d records, want those after the position", n)
		}
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
		stall := l.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.Produce}, Topic: labTopic,
			Partitions: []int32{0}, Err: kerr.NotLeaderForPartition, Count: -1,
		})
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
