package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/internal/names"
)

// standing is where a producer has a transaction open.
type standing struct {
	place
	producer int64
}

// ruin is what a dead lane has left in Kafka: transactions that the coordinator calls ended, some
// of whose markers are missing. The stand-in loses no markers, so it is told what to say of them.
type ruin struct {
	l    *lab
	lane string

	mu    sync.Mutex
	ids   map[string]*kgo.Client // by turn
	pids  map[string]int64       // by transactional id
	open  map[standing]kmsg.DescribeProducersResponseTopicPartitionActiveProducer
	ends  []string // the markers that whoever came later has written
	state string   // of both ids, as the coordinator says
}

func (l *lab) ruin(lane string) *ruin {
	r := &ruin{
		l: l, lane: lane, ids: map[string]*kgo.Client{}, pids: map[string]int64{}, state: "CompleteCommit",
		open: map[standing]kmsg.DescribeProducersResponseTopicPartitionActiveProducer{},
	}
	for _, turn := range []string{"a", "b"} {
		id := names.LaneID(labOutbox, lane, turn[0])
		client, err := kgo.NewClient(append(slices.Clone(l.opts), kgo.TransactionalID(id), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionTimeout(10*time.Minute))...)
		if err != nil {
			l.t.Fatal(err)
		}
		pid, _, err := client.ProducerID(l.t.Context())
		if err != nil {
			l.t.Fatal(err)
		}
		r.ids[turn], r.pids[id] = client, pid
	}
	l.on(kmsg.InitProducerID, func(req kmsg.Request) kmsg.Response { // nothing is open, so that nothing is aborted
		x := req.(*kmsg.InitProducerIDRequest)
		if x.TransactionalID == nil || r.pids[*x.TransactionalID] == 0 {
			return nil
		}
		resp := x.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ProducerID, resp.ProducerEpoch = r.pids[*x.TransactionalID], 99
		return resp
	})
	l.on(kmsg.DescribeTransactions, func(req kmsg.Request) kmsg.Response {
		x := req.(*kmsg.DescribeTransactionsRequest)
		pid := r.pids[x.TransactionalIDs[0]]
		if pid == 0 {
			return nil
		}
		resp := x.ResponseKind().(*kmsg.DescribeTransactionsResponse)
		state := kmsg.NewDescribeTransactionsResponseTransactionState()
		state.TransactionalID, state.State, state.ProducerID = x.TransactionalIDs[0], r.state, pid
		resp.TransactionStates = append(resp.TransactionStates, state)
		return resp
	})
	l.on(kmsg.DescribeProducers, func(req kmsg.Request) kmsg.Response {
		r.mu.Lock()
		defer r.mu.Unlock()
		x := req.(*kmsg.DescribeProducersRequest)
		resp := x.ResponseKind().(*kmsg.DescribeProducersResponse)
		for _, rt := range x.Topics {
			t := kmsg.NewDescribeProducersResponseTopic()
			t.Topic = rt.Topic
			for _, n := range rt.Partitions {
				p := kmsg.NewDescribeProducersResponseTopicPartition()
				p.Partition = n
				for at, open := range r.open {
					if at.place == (place{rt.Topic, n}) {
						p.ActiveProducers = append(p.ActiveProducers, open)
					}
				}
				t.Partitions = append(t.Partitions, p)
			}
			resp.Topics = append(resp.Topics, t)
		}
		return resp
	})
	l.on(kmsg.WriteTxnMarkers, func(req kmsg.Request) kmsg.Response {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, m := range req.(*kmsg.WriteTxnMarkersRequest).Markers {
			for _, t := range m.Topics {
				for _, n := range t.Partitions {
					delete(r.open, standing{place{t.Topic, n}, m.ProducerID})
					r.ends = append(r.ends, fmt.Sprintf("%s/%d %v", t.Topic, n, m.Committed))
				}
			}
		}
		return nil
	})
	return r
}

// part is what a transaction holds of a shard.
type ruined struct {
	shard    int
	claim    bool
	entries  []int // their numbers
	at       []place
	position int  // 0: none
	counts   int  // what the position says that there are, if it is not as many as there are
	all      bool // the position lists topics, as it does for very many partitions
}

// transaction writes a transaction, which stands open everywhere.
func (r *ruin) transaction(turn string, parts ...ruined) {
	l := r.l
	l.t.Helper()
	client := r.ids[turn]
	if err := client.BeginTransaction(); err != nil {
		l.t.Fatal(err)
	}
	id, epoch, err := client.ProducerID(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	first := map[place]int64{}
	produce := func(rec *kgo.Record) {
		if err := client.ProduceSync(l.t.Context(), rec).FirstErr(); err != nil {
			l.t.Fatal(err)
		}
		at := place{rec.Topic, rec.Partition}
		if _, known := first[at]; !known {
			first[at] = rec.Offset
		}
	}
	for _, p := range parts {
		k := keys{labOutbox, labTopic, p.shard}
		if p.claim {
			produce(k.claim(r.lane, "dead", time.Now()))
		}
		set := map[place]int{}
		for i, n := range p.entries {
			at := p.at[i%len(p.at)]
			set[at]++
			produce(&kgo.Record{Topic: at.topic, Partition: at.partition, Key: fmt.Appendf(nil, "%d/%d", p.shard, n), Value: []byte("value")})
		}
		if p.position > 0 {
			counts := len(p.entries)
			if p.counts > 0 {
				counts = p.counts
			}
			wrote := places(set)
			if p.all {
				wrote = Places{"events": {}}
			}
			value, err := json.Marshal(Position{
				V: RecordVersion, Lane: r.lane, Records: counts, Wrote: wrote, Position: fmt.Appendf(nil, `{"n":%d}`, p.position),
			})
			if err != nil {
				l.t.Fatal(err)
			}
			produce(k.position(value))
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for at, offset := range first {
		open := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
		open.ProducerID, open.ProducerEpoch, open.CurrentTxnStartOffset = id, int32(epoch), offset
		r.open[standing{at, id}] = open
	}
}

// commit ends a transaction as it should be.
func (r *ruin) commit(turn string) {
	r.l.t.Helper()
	id, _, err := r.ids[turn].ProducerID(r.l.t.Context())
	if err != nil {
		r.l.t.Fatal(err)
	}
	if err := r.ids[turn].EndTransaction(r.l.t.Context(), kgo.TryCommit); err != nil {
		r.l.t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.open, func(at standing, _ kmsg.DescribeProducersResponseTopicPartitionActiveProducer) bool {
		return at.producer == id
	})
}

// marker writes a marker that was not lost.
func (r *ruin) marker(turn string, at place, commit bool) {
	r.l.t.Helper()
	r.mu.Lock()
	x, ok := r.open[standing{at, r.pids[names.LaneID(labOutbox, r.lane, turn[0])]}]
	r.mu.Unlock()
	if !ok {
		r.l.t.Fatalf("nothing of turn %s stands open in %v", turn, at)
	}
	answer, err := kadm.NewClient(r.l.kafka).WriteTxnMarkers(r.l.t.Context(), kadm.TxnMarkers{
		ProducerID: x.ProducerID, ProducerEpoch: int16(x.ProducerEpoch), Commit: commit, Topics: kadm.TopicsSet{at.topic: {at.partition: {}}},
	})
	if err != nil || len(answer) != 1 {
		r.l.t.Fatal(answer, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ends = nil
}

// ended are the markers that were written by whoever came later.
func (r *ruin) ended() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := slices.Clone(r.ends)
	slices.Sort(got)
	return got
}

func (r *ruin) close() {
	for _, client := range r.ids {
		client.Close()
	}
}

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
		leave func(r *ruin) // behind entries 1 and 2 of shard 0, which are committed
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
		"the position, and the other id wrote behind it": {func(r *ruin) {
			r.transaction("b", ruined{shard: 0, entries: []int{3}, at: []place{e0}, position: 3, counts: 9}) // which alone would be an abort
			r.transaction("a", ruined{shard: 0, entries: []int{4}, at: []place{e1}, position: 4})
			r.marker("a", e1, true)
			r.marker("a", p0, true)
		}, []string{"events/0 true", p0str + " true"}, false},
		"shared, and another shard has a commit": {func(r *ruin) {
			r.transaction("b", ruined{shard: 0, entries: []int{3, 4}, at: two, position: 4}, ruined{shard: 1, claim: true, entries: []int{1}, at: []place{e1}, position: 1})
			r.marker("b", p1, true)
		}, []string{"events/0 true", "events/1 true", p0str + " true"}, false},
		"shared, and another shard is not complete": {func(r *ruin) {
			r.transaction("b", ruined{shard: 0, entries: []int{3, 4}, at: two, position: 4}, ruined{shard: 1, claim: true, entries: []int{1}, at: []place{e1}, position: 2, counts: 2})
		}, []string{"events/0 false", "events/1 false", p0str + " false"}, true},
		"shared, and another shard's position was not written": {func(r *ruin) {
			r.transaction("b", ruined{shard: 0, entries: []int{3, 4}, at: two, position: 4}, ruined{shard: 1, entries: []int{1}, at: []place{e1}})
		}, []string{"events/0 false", "events/1 false", p0str + " false"}, true},
		"shared, another shard's position was not written, the one before was": {func(r *ruin) {
			r.transaction("b", ruined{shard: 1, claim: true, entries: []int{1}, at: []place{e1}, position: 1})
			r.commit("b")
			r.transaction("a", ruined{shard: 1, entries: []int{2}, at: []place{e1}, position: 2})
			r.commit("a")
			r.transaction("b", ruined{shard: 0, entries: []int{3, 4}, at: two, position: 4}, ruined{shard: 1, entries: []int{3}, at: []place{e1}})
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
				if got := r.ended(); !slices.Equal(got, c.ended) && !slices.Equal(got, append(slices.Clone(c.ended), "sluice.orders.positions/1 false")) {
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
		r.transaction("a", ruined{shard: 0, claim: true, entries: []int{1, 2}, at: []place{{"events", 0}}, position: 2})
		left := maps.Clone(r.open)
		denied := l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.WriteTxnMarkers}, Err: kerr.ClusterAuthorizationFailed, Count: -1})
		e, end := l.engine()
		defer end()
		f := newFlow(0)
		f.add(4, place{"events", 0})
		l.run(e, f)
		l.state(f, Halted)
		if !strings.Contains(f.seen().reason, "KAFKA-20734") || !strings.Contains(f.seen().reason, "Alter on the cluster") || !strings.Contains(f.seen().reason, "commit") {
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
				unknown := l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeProducers}, Topic: c.topic, Err: c.err, Count: -1})
				e, end := l.engine(func(c *Config) { c.Known = func() []string { return []string{"events", "others"} } })
				defer end()
				later := newFlow(0)
				later.add(10, place{"events", 0})
				l.run(e, later)
				if c.waits {
					l.until("it says what it waits for", func() bool { return strings.Contains(strings.Join(later.told(), ","), "topic events, partition") })
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

// A topic that this process must not even see is no reason to stand still: nobody could have
// written there through it.
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
		l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "secret", Err: kerr.TopicAuthorizationFailed, Count: -1})
		e, end := l.engine(func(c *Config) { c.Known = func() []string { return []string{"events", "secret"} } })
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

// A dead process's open transaction, which holds up the position, is ended by a fence, at once
// instead of after its time-out.
func TestOpenTransactionOfADeadProcess(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		k := keys{labOutbox, labTopic, 0}
		client, err := kgo.NewClient(append(slices.Clone(l.opts), kgo.TransactionalID(names.LaneID(labOutbox, "dead", 'a')),
			kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionTimeout(10*time.Minute))...)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		for round := range 2 {
			if err := client.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			value, err := json.Marshal(Position{V: RecordVersion, Lane: "dead", Records: 1, Wrote: Places{"events": {0}}, Position: fmt.Appendf(nil, `{"n":%d}`, round+1)})
			if err != nil {
				t.Fatal(err)
			}
			err = client.ProduceSync(t.Context(), k.claim("dead", "", time.Now()),
				&kgo.Record{Topic: "events", Key: fmt.Appendf(nil, "0/%d", round+1), Value: []byte("value")}, k.position(value)).FirstErr()
			if err != nil {
				t.Fatal(err)
			}
			if round == 0 {
				if err := client.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
					t.Fatal(err)
				}
			}
		}
		began := time.Now()
		e, end := l.engine()
		defer end()
		f := newFlow(0)
		f.add(5, place{"events", 0})
		l.run(e, f)
		l.delivered(f)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %s", took)
		}
		if err := client.EndTransaction(t.Context(), kgo.TryCommit); err == nil {
			t.Error("the dead process has committed")
		}
		end()
		l.check(f)
	})
}

// A transaction that is no lane's holds up the position: the shard says so when it has lasted
// longer than one may.
func TestOpenTransactionOfAStranger(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		client, err := kgo.NewClient(append(slices.Clone(l.opts), kgo.TransactionalID("stranger"), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionTimeout(10*time.Minute))...)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: labTopic, Key: []byte("what"), Value: []byte("ever")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		e, end := l.engine()
		defer end()
		f := newFlow(0)
		f.add(5, place{"events", 0})
		began := time.Now()
		l.run(e, f)
		l.state(f, Halted)
		if took := time.Since(began); took < e.cfg.TransactionTimeout || !strings.Contains(f.seen().reason, "no lane's") || !strings.Contains(f.seen().reason, "kafka-transactions.sh") {
			t.Errorf("halted after %s: %s", took, f.seen().reason)
		}
		if err := client.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
		l.delivered(f)
		end()
		l.check(f)
	})
}

func TestIsCommitMarker(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]bool{"\x00\x00\x00\x01": true, "\x00\x00\x00\x00": false, "\x00\x01\x00\x01": true, "\x00\x00\x01": false, "": false} {
		if got := isCommitMarker(&kgo.Record{Key: []byte(key)}); got != want {
			t.Errorf("%q: %v", key, got)
		}
	}
}

// Many shards that ask at once share a question, and nobody gets an answer that is older than his.
func TestQuestionForProducersIsShared(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		l.topic("others", 1)
		e, end := l.engine()
		defer end()
		asked := l.seen(kmsg.DescribeProducers, func(kmsg.Request) string { return "asked" })
		done := make(chan error, 50)
		for i := range 50 {
			go func() {
				_, _, err := e.producerStates.ask(t.Context(), []string{[]string{"events", "others"}[i%2]})
				done <- err
			}()
		}
		for range 50 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if n := len(asked()); n > 10 {
			t.Errorf("asked %d times for 50 shards", n)
		}
		before := len(asked())
		if _, _, err := e.producerStates.ask(t.Context(), []string{"events"}); err != nil || len(asked()) != before+1 {
			t.Errorf("asked %d times, %v", len(asked())-before, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := e.producerStates.ask(ctx, []string{"events"}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
