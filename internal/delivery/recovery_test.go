package delivery

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What hangs of a dead lane is ended as it should have been, whatever markers are missing, and
// nothing is lost or doubled.
func TestHangingTransactions(t *testing.T) {
	t.Parallel()
	var (
		p0, p1 = place{labTopic, 0}, place{labTopic, 1}
		e0, e1 = place{"events", 0}, place{"events", 1}
		two    = []place{e0, e1}
	)
	for name, c := range map[string]struct {
		leave func(r *ruin) // after entries 1 and 2 of shard 0, which are committed
		ended []string
		sent  bool // whether the successor has to send 3 and 4 again
	}{
		"nothing hangs": {func(*ruin) {}, nil, true},
		"the position alone, the records have a commit": {func(r *ruin) {
			r.transaction("b", ruined{shard: 0, entries: []int{3, 4}, at: two, position: 4})
			r.marker("b", e0, true)
			r.marker("b", e1, true)
		}, []string{p0str + " true"}, false},
		"the position alone, the records have an abort": {func(r *ruin) {
			r.transaction("b", ruined{shard: 0, entries: []int{3, 4}, at: two, position: 4})
			r.marker("b", e0, false)
			r.marker("b", e1, false)
		}, []string{p0str + " false"}, true},
		"position and one partition, the other has a commit": {func(r *ruin) {
			r.transaction("b", ruined{shard: 0, entries: []int{3, 4}, at: two, position: 4})
			r.marker("b", e1, true)
		}, []string{"events/0 true", p0str + " true"}, false},
		"position and one partition, the other has an abort": {func(r *ruin) {
			r.transaction("b", ruined{shard: 0, entries: []int{3, 4}, at: two, position: 4})
			r.marker("b", e1, false)
		}, []string{"events/0 false", p0str + " false"}, true},
		"the position alone, the records have a commit, in very many partitions": {func(r *ruin) {
			r.transaction("b", ruined{shard: 0, entries: []int{3, 4}, at: two, position: 4, all: true})
			r.marker("b", e0, true)
			r.marker("b", e1, true)
		}, []string{p0str + " true"}, false},
		"records alone, the position has a commit, in very many partitions": {func(r *ruin) {
			r.transaction("b", ruined{shard: 0, entries: []int{3, 4}, at: two, position: 4, all: true})
			r.marker("b", p0, true)
		}, []string{"events/0 true", "events/1 true"}, false},
		"everything, and it is complete": {func(r *ruin) {
			r.transaction("b", ruined{shard: 0, entries: []int{3, 4}, at: two, position: 4})
		}, []string{"events/0 true", "events/1 true", p0str + " true"}, false},
		"everything, and a record is missing": {func(r *ruin) {
			r.transaction("b", ruined{shard: 0, entries: []int{3, 4}, at: two, position: 5, counts: 3})
		}, []string{"events/0 false", "events/1 false", p0str + " false"}, true},
		"records alone, the position has a commit": {func(r *ruin) {
			r.transaction("b", ruined{shard: 0, entries: []int{3, 4}, at: two, position: 4})
			r.marker("b", p0, true)
		}, []string{"events/0 true", "events/1 true"}, false},
		"records alone, the position has an abort": {func(r *ruin) {
			r.transaction("b", ruined{shard: 0, entries: []int{3, 4}, at: two, position: 4})
			r.marker("b", p0, false)
		}, []string{"events/0 false", "events/1 false"}, true},
		"one partition, the rest has a commit": {func(r *ruin) {
			r.transaction("b", ruined{shard: 0, entries: []int{3, 4}, at: two, position: 4})
			r.marker("b", p0, true)
			r.marker("b", e1, true)
		}, []string{"events/0 true"}, false},
		"records without a position": {func(r *ruin) {
			r.transaction("b", ruined{shard: 0, entries: []int{3, 4}, at: two})
		}, []string{"events/0 false", "events/1 false"}, true},
		"the position, and the other id wrote after it": {func(r *ruin) {
			// which alone would be an abort
			r.transaction("b", ruined{shard: 0, entries: []int{3}, at: []place{e0}, position: 3, counts: 9})
			r.transaction("a", ruined{shard: 0, entries: []int{4}, at: []place{e1}, position: 4})
			r.marker("a", e1, true)
			r.marker("a", p0, true)
		}, []string{"events/0 true", p0str + " true"}, false},
		"shared, and another shard has a commit": {func(r *ruin) {
			r.transaction("b", ruined{shard: 0, entries: []int{3, 4}, at: two, position: 4},
				ruined{shard: 1, claim: true, entries: []int{1}, at: []place{e1}, position: 1})
			r.marker("b", p1, true)
		}, []string{"events/0 true", "events/1 true", p0str + " true"}, false},
		"shared, and another shard is not complete": {func(r *ruin) {
			r.transaction("b", ruined{shard: 0, entries: []int{3, 4}, at: two, position: 4},
				ruined{shard: 1, claim: true, entries: []int{1}, at: []place{e1}, position: 2, counts: 2})
		}, []string{"events/0 false", "events/1 false", p0str + " false"}, true},
		"shared, and another shard's position was not written": {func(r *ruin) {
			r.transaction("b", ruined{shard: 0, entries: []int{3, 4}, at: two, position: 4},
				ruined{shard: 1, entries: []int{1}, at: []place{e1}})
		}, []string{"events/0 false", "events/1 false", p0str + " false"}, true},
		"shared, another shard's position was not written, the one before was": {func(r *ruin) {
			r.transaction("b", ruined{
				shard: 1, claim: true, entries: []int{1}, at: []place{e1},
				position: 1,
			})
			r.commit("b")
			r.transaction("a", ruined{shard: 1, entries: []int{2}, at: []place{e1}, position: 2})
			r.commit("a")
			r.transaction("b", ruined{shard: 0, entries: []int{3, 4}, at: two, position: 4},
				ruined{shard: 1, entries: []int{3}, at: []place{e1}})
		}, []string{"events/0 false", "events/1 false", p0str + " false"}, true},
		"the position was not written, the one before was": {func(r *ruin) {
			r.transaction("b", ruined{shard: 0, entries: []int{3}, at: two, position: 3})
			r.commit("b")
			r.transaction("a", ruined{shard: 0, entries: []int{4}, at: two})
		}, []string{"events/0 false"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inLab(t, 2, func(t *testing.T, l *lab) {
				l.topic("events", 2)
				r := l.ruin("dead")
				defer r.close()
				r.transaction("a", ruined{shard: 0, claim: true, entries: []int{1, 2}, at: two, position: 2})
				r.commit("a")
				c.leave(r)
				e, end := l.engine(func(c *Config) { c.Known = func() []string { return []string{"events"} } })
				defer end()
				f := newFlow(0)
				for i := range 6 {
					f.add(1, two[i%2])
				}
				l.run(e, f)
				l.delivered(f)
				if got := r.ended(); !slices.Equal(got, c.ended) &&
					!slices.Equal(got, append(slices.Clone(c.ended), "sluice.orders.positions/1 false")) {
					t.Errorf("ended were %v, want %v", got, c.ended)
				}
				counts := map[string]int{}
				for _, rec := range l.all("events") {
					counts[string(rec.Key)]++
				}
				for n := 1; n <= 6; n++ {
					if got := counts[fmt.Sprintf("0/%d", n)]; got != 1 {
						t.Errorf("entry %d is there %d times", n, got)
					}
				}
				if runs := f.inLanes(); len(runs) != 1 {
					t.Errorf("seated %d times", len(runs))
				}
			})
		})
	}
}

const p0str = labTopic + "/0"

// Whoever may not write markers halts with what has to be done, and goes on when it is allowed.
func TestHangingTransactionDenied(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		r := l.ruin("dead")
		defer r.close()
		r.transaction("a", ruined{
			shard: 0, claim: true, entries: []int{1, 2}, at: []place{{"events", 0}},
			position: 2,
		})
		left := maps.Clone(r.open)
		denied := l.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.WriteTxnMarkers},
			Err:  kerr.ClusterAuthorizationFailed, Count: -1,
		})
		e, end := l.engine()
		defer end()
		f := newFlow(0)
		f.add(4, place{"events", 0})
		l.run(e, f)
		l.state(f, Halted)
		if !strings.Contains(f.seen().reason, "KAFKA-20734") ||
			!strings.Contains(f.seen().reason, "Alter on the cluster") ||
			!strings.Contains(f.seen().reason, "commit") {
			t.Errorf("halted: %s", f.seen().reason)
		}
		r.mu.Lock()
		r.open = left
		r.mu.Unlock()
		denied.Remove()
		l.delivered(f)
		l.check(f)
	})
}

// Whether something hangs in a partition that the earlier owner has written to has to be known; of
// others it need not.
func TestPartitionsOfWhichNobodyCanSay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		topic string
		err   *kerr.Error
		waits bool
	}{
		"one that was written to":          {"events", kerr.NotLeaderForPartition, true},
		"another one":                      {"others", kerr.NotLeaderForPartition, false},
		"one that must not be asked about": {"events", kerr.TopicAuthorizationFailed, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inLab(t, 1, func(t *testing.T, l *lab) {
				l.topic("events", 2)
				l.topic("others", 1)
				f := newFlow(0)
				f.add(5, place{"events", 0})
				first, endFirst := l.engine()
				defer endFirst()
				l.run(first, f)
				l.delivered(f)
				unknown := l.cluster.Fault(kfake.Fault{
					Keys: []kmsg.Key{kmsg.DescribeProducers}, Topic: c.topic,
					Err: c.err, Count: -1,
				})
				e, end := l.engine(func(c *Config) {
					c.Known = func() []string { return []string{"events", "others"} }
				})
				defer end()
				later := newFlow(0)
				later.add(10, place{"events", 0})
				l.run(e, later)
				if c.waits {
					l.until("it says what it waits for", func() bool {
						return strings.Contains(strings.Join(later.told(), ","), "topic events, partition")
					})
					time.Sleep(10 * time.Second)
					if l.number(e, 0) != 5 {
						t.Error("delivered all the same")
					}
					unknown.Remove()
				}
				l.until("it is delivered", func() bool { return l.number(e, 0) == 10 })
				endFirst()
				end()
				l.check(later)
			})
		})
	}
}

// A topic that this process must not even see is no reason to stop: nobody could have written there
// through it.
func TestTopicsThatMustNotBeSeen(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		l.topic("secret", 1)
		f := newFlow(0)
		f.add(5, place{"events", 0})
		first, endFirst := l.engine()
		defer endFirst()
		l.run(first, f)
		l.delivered(f)
		l.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.Metadata}, Topic: "secret",
			Err: kerr.TopicAuthorizationFailed, Count: -1,
		})
		e, end := l.engine(func(c *Config) {
			c.Known = func() []string { return []string{"events", "secret"} }
		})
		defer end()
		later := newFlow(0)
		later.add(10, place{"events", 0})
		l.run(e, later)
		l.until("it is delivered", func() bool { return l.number(e, 0) == 10 })
		for _, told := range later.told() {
			if strings.Contains(told, "AUTHORIZATION") {
				t.Errorf("the shard told %q", told)
			}
		}
	})
}

func TestIsCommitMarker(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]bool{
		"\x00\x00\x00\x01": true, "\x00\x00\x00\x00": false,
		"\x00\x01\x00\x01": true, "\x00\x00\x01": false, "": false,
	} {
		if got := isCommitMarker(&kgo.Record{Key: []byte(key)}); got != want {
			t.Errorf("%q: %v", key, got)
		}
	}
}
