package delivery

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
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
		l: l, lane: lane, ids: map[string]*kgo.Client{}, pids: map[string]int64{},
		state: "CompleteCommit",
		open:  map[standing]kmsg.DescribeProducersResponseTopicPartitionActiveProducer{},
	}
	for _, turn := range []string{"a", "b"} {
		id := names.LaneID(labOutbox, lane, turn[0])
		client, err := kgo.NewClient(append(slices.Clone(l.opts), kgo.TransactionalID(id),
			kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionTimeout(10*time.Minute))...)
		if err != nil {
			l.t.Fatal(err)
		}
		pid, _, err := client.ProducerID(l.t.Context())
		if err != nil {
			l.t.Fatal(err)
		}
		r.ids[turn], r.pids[id] = client, pid
	}
	// nothing is open, so that nothing is aborted
	l.on(kmsg.InitProducerID, func(req kmsg.Request) kmsg.Response {
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

// transaction writes a transaction, which is open everywhere.
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
			produce(&kgo.Record{
				Topic: at.topic, Partition: at.partition,
				Key: fmt.Appendf(nil, "%d/%d", p.shard, n), Value: []byte("value"),
			})
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
				V: RecordVersion, Lane: r.lane, Records: counts, Wrote: wrote,
				Position: fmt.Appendf(nil, `{"n":%d}`, p.position),
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
	maps.DeleteFunc(r.open, func(at standing,
		_ kmsg.DescribeProducersResponseTopicPartitionActiveProducer,
	) bool {
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
		r.l.t.Fatalf("nothing of turn %s is open in %v", turn, at)
	}
	answer, err := kadm.NewClient(r.l.kafka).WriteTxnMarkers(r.l.t.Context(), kadm.TxnMarkers{
		ProducerID: x.ProducerID, ProducerEpoch: int16(x.ProducerEpoch), Commit: commit,
		Topics: kadm.TopicsSet{at.topic: {at.partition: {}}},
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
