package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// lab is an in-memory Kafka with a positions topic, inside a bubble of testing/synctest: nothing
// touches the network, and waiting costs no time. What it shows of Kafka is what the stand-in
// knows; claims about the real one are proved on the real one.
type lab struct {
	t       *testing.T
	shards  int
	cluster *kfake.Cluster
	opts    []kgo.Opt
	kafka   *kgo.Client

	mu  sync.Mutex
	txs []Transaction
}

const (
	labOutbox = "orders"
	labTopic  = "sluice.orders.positions"
	letters   = "letters" // takes what is refused
)

// inLab runs f in a bubble. Everything that f starts has to have ended when it returns.
func inLab(t *testing.T, shards int, f func(t *testing.T, l *lab)) {
	t.Helper()
	inLabOf(t, 1, shards, f)
}

// inLabOf is inLab with a number of brokers.
func inLabOf(t *testing.T, brokers, shards int, f func(t *testing.T, l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, brokers, shards)
		defer l.cluster.Close()
		defer l.kafka.Close()
		f(t, l)
	})
}

func newLab(t *testing.T, brokers, shards int) *lab {
	t.Helper()
	var network kfake.VirtualNetwork
	var ports []int
	for i := range brokers {
		ports = append(ports, 19092+i)
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(brokers), kfake.Ports(ports...),
		kfake.ListenFn(network.Listen),
		kfake.SeedTopics(int32(shards), labTopic), kfake.SeedTopics(1, letters))
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, shards: shards, cluster: cluster}
	l.opts = []kgo.Opt{
		kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.Dialer(network.DialContext),
		kgo.MetadataMinAge(10 * time.Millisecond), kgo.DisableClientMetrics(),
	}
	if l.kafka, err = kgo.NewClient(l.opts...); err != nil {
		t.Fatal(err)
	}
	l.on(kmsg.InitProducerID, l.refuseRecovery)
	return l
}

// refuseRecovery answers a producer that wants its old id back as Kafka does when another one has
// initialised the id since.
func (l *lab) refuseRecovery(r kmsg.Request) kmsg.Response {
	req := r.(*kmsg.InitProducerIDRequest)
	if req.TransactionalID == nil || req.ProducerID < 0 || req.ProducerEpoch < 0 {
		return nil
	}
	resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
	resp.ProducerID, resp.ProducerEpoch, resp.ErrorCode = -1, -1, kerr.ProducerFenced.Code
	return resp
}

// on has f answer requests of a kind before the stand-in does, until the test ends; nil leaves it
// to the stand-in.
func (l *lab) on(key kmsg.Key, f func(kmsg.Request) kmsg.Response) {
	l.cluster.ControlKey(int16(key), func(r kmsg.Request) (kmsg.Response, error, bool) {
		l.cluster.KeepControl()
		resp := f(r)
		return resp, nil, resp != nil
	})
}

// seen collects what f makes of the requests of a kind.
func (l *lab) seen(key kmsg.Key, f func(kmsg.Request) string) func() []string {
	var mu sync.Mutex
	var all []string
	l.on(key, func(r kmsg.Request) kmsg.Response {
		mu.Lock()
		defer mu.Unlock()
		if text := f(r); text != "" {
			all = append(all, text)
		}
		return nil
	})
	return func() []string { mu.Lock(); defer mu.Unlock(); return slices.Clone(all) }
}

func (l *lab) topic(name string, partitions int32) {
	l.t.Helper()
	if err := l.cluster.CreateTopic(name, partitions, nil); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) config() Config {
	return Config{
		Outbox: labOutbox, Topic: labTopic, Client: l.kafka, Producer: l.opts, Instance: "relay-1",
		Logger: slog.New(slog.NewTextHandler(l.t.Output(), nil)),
		Lanes:  1, MaxEntries: 10_000, MaxBytes: 16 << 20, MaxInFlight: 32 << 20,
		TransactionTimeout: 10 * time.Second, DrainTimeout: 10 * time.Second,
		Origin: func(r *kgo.Record) (int, bool) {
			shard, _, ok := originOf(r)
			return shard, ok
		},
		Covers: func(position json.RawMessage, r *kgo.Record) bool {
			_, n, _ := originOf(r)
			return position != nil && n <= numberOf(position)
		},
		Transaction: func(x Transaction) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.txs = append(l.txs, x)
		},
	}
}

// engine starts an engine; the returned func closes it.
func (l *lab) engine(change ...func(*Config)) (*Engine, func()) {
	cfg := l.config()
	for _, f := range change {
		f(&cfg)
	}
	e := New(cfg)
	return e, sync.OnceFunc(e.Close)
}

// transactions are those that were committed so far.
func (l *lab) transactions() []Transaction {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.txs)
}

// until polls for something to become true, for two minutes of the bubble.
func (l *lab) until(what string, ok func() bool) {
	l.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(
		10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	l.t.Fatalf("not within two minutes: %s", what)
}

// delivered waits until a flow has learned that everything is committed.
func (l *lab) delivered(flows ...*flow) {
	l.t.Helper()
	for _, f := range flows {
		l.until(fmt.Sprintf("shard %d is delivered", f.shard), func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.committed == len(f.entries)
		})
	}
}

// state waits for a flow's state.
func (l *lab) state(f *flow, want State) {
	l.t.Helper()
	l.until(fmt.Sprintf("shard %d is %s", f.shard, want), func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.state == want
	})
}

// all are the records that a read_committed consumer finds in topics now.
func (l *lab) all(topics ...string) []*kgo.Record {
	l.t.Helper()
	client, err := kgo.NewClient(append(slices.Clone(l.opts), kgo.ConsumeTopics(topics...),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		l.t.Fatal(err)
	}
	defer client.Close()
	var got []*kgo.Record
	for {
		ctx, cancel := context.WithTimeout(l.t.Context(), 10*time.Second)
		fetches := client.PollFetches(ctx)
		cancel()
		if fetches.NumRecords() == 0 {
			return got
		}
		got = append(got, fetches.Records()...)
	}
}

// check looks whether each entry of the flows is visible once, in the order of its partition, and
// in the letters if it was refused.
func (l *lab) check(flows ...*flow) {
	l.t.Helper()
	topics := map[string]bool{letters: true}
	for _, f := range flows {
		for _, at := range f.entries {
			topics[at.topic] = true
		}
	}
	var names []string
	for topic := range topics {
		names = append(names, topic)
	}
	type of struct {
		shard int
		at    place
	}
	last, count := map[of]int{}, map[string]int{}
	for _, r := range l.all(names...) {
		shard, n, ok := originOf(r)
		if !ok {
			continue
		}
		x := of{shard, place{r.Topic, r.Partition}}
		if n <= last[x] {
			l.t.Errorf("entry %d of shard %d comes after %d", n, shard, last[x])
		}
		last[x] = n
		if count[string(r.Key)]++; count[string(r.Key)] > 1 {
			l.t.Errorf("entry %s is there %d times", r.Key, count[string(r.Key)])
		}
	}
	for _, f := range flows {
		for i := range f.entries {
			if key := fmt.Sprintf("%d/%d", f.shard, i+1); count[key] == 0 {
				l.t.Errorf("entry %s is lost", key)
				return
			}
		}
	}
}

// ledger reads what a shard's partition says.
func (l *lab) ledger(e *Engine, shard int) *ledger {
	l.t.Helper()
	g, _, err := e.reader.ledger(l.t.Context(), keys{labOutbox, labTopic, shard})
	if err != nil {
		l.t.Fatal(err)
	}
	return g
}

// number is a shard's committed position.
func (l *lab) number(e *Engine, shard int) int {
	l.t.Helper()
	g := l.ledger(e, shard)
	if g.last == nil {
		return 0
	}
	p, err := ParsePosition(g.last.Value)
	if err != nil {
		l.t.Fatal(err)
	}
	return numberOf(p.Position)
}

// run adds flows to an engine.
func (l *lab) run(e *Engine, flows ...*flow) {
	for _, f := range flows {
		e.Add(context.Background(), f.shard, func() Source { return f })
	}
}

// set has an engine change a shard's number, and returns what it was.
func (l *lab) set(e *Engine, shard int, change func(int) int) (was int) {
	l.t.Helper()
	err := e.Set(l.t.Context(), []int{shard}, func(_ int, record []byte) ([]byte, error) {
		if record != nil {
			p, err := ParsePosition(record)
			if err != nil {
				return nil, err
			}
			was = numberOf(p.Position)
		}
		return json.Marshal(numbered{change(was)})
	})
	if err != nil {
		l.t.Error(err)
	}
	return was
}

// keysOf are the keys of the records of an encoded batch.
func keysOf(t *testing.T, raw []byte) []string {
	t.Helper()
	fp, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{},
		&kmsg.FetchResponseTopicPartition{RecordBatches: raw}, kgo.DefaultDecompressor(), nil)
	if fp.Err != nil {
		t.Error(fp.Err)
	}
	keys := make([]string, len(fp.Records))
	for i, r := range fp.Records {
		keys[i] = string(r.Key)
	}
	return keys
}
