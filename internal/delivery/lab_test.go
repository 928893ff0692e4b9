package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/internal/retry"
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
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, shards)
		defer l.cluster.Close()
		defer l.kafka.Close()
		f(t, l)
	})
}

func newLab(t *testing.T, shards int) *lab {
	t.Helper()
	var network kfake.VirtualNetwork
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(19092), kfake.ListenFn(network.Listen),
		kfake.SeedTopics(int32(shards), labTopic), kfake.SeedTopics(1, letters))
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, shards: shards, cluster: cluster}
	l.opts = []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.Dialer(network.DialContext), kgo.MetadataMinAge(10 * time.Millisecond), kgo.DisableClientMetrics()}
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
		Outbox: labOutbox, Topic: labTopic, Client: l.kafka, Producer: l.opts, Instance: "relay-1", Logger: slog.New(slog.NewTextHandler(l.t.Output(), nil)),
		Lanes: 1, MaxEntries: 10_000, MaxBytes: 16 << 20, MaxInFlight: 32 << 20, TransactionTimeout: 10 * time.Second, DrainTimeout: 10 * time.Second,
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

// The records of a flow have the key <shard>/<number>, its position is {"n":<number>}.
func originOf(r *kgo.Record) (shard, n int, ok bool) {
	left, right, ok := strings.Cut(string(r.Key), "/")
	shard, err := strconv.Atoi(left)
	n, err2 := strconv.Atoi(right)
	return shard, n, ok && err == nil && err2 == nil
}

type numbered struct {
	N int `json:"n"`
}

func numberOf(position json.RawMessage) int {
	var p numbered
	if json.Unmarshal(position, &p) != nil {
		return 0
	}
	return p.N
}

// flow is a shard's stream in memory.
type flow struct {
	shard int
	size  int // of a batch

	mu        sync.Mutex
	entries   []place // where the entry with number i+1 goes
	refused   map[int]error
	grown     chan struct{}
	states    []string
	state     State
	reason    string
	committed int // the last number that the lane has told of
	lanes     []string
	paused    bool
	failure   error // what Run returns
	runs      int
	alone     bool // gives its seat back, and goes on
	working   bool // while it is alone
}

func newFlow(shard int) *flow {
	return &flow{shard: shard, size: 10, refused: map[int]error{}, grown: make(chan struct{})}
}

// add appends n entries that go to a place.
func (f *flow) add(n int, at place) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range n {
		f.entries = append(f.entries, at)
	}
	close(f.grown)
	f.grown = make(chan struct{})
}

func (f *flow) record(n int) *kgo.Record {
	at := f.entries[n-1]
	r := &kgo.Record{Topic: at.topic, Partition: at.partition, Key: fmt.Appendf(nil, "%d/%d", f.shard, n), Value: []byte("value")}
	if f.refused[n] != nil {
		r.Topic, r.Partition = letters, 0
	}
	return r
}

// Run implements Source.
func (f *flow) Run(ctx context.Context, seat *Seat) error {
	f.mu.Lock()
	f.lanes, f.runs = append(f.lanes, seat.lane.name), f.runs+1
	alone := f.alone
	f.mu.Unlock()
	if alone {
		if err := seat.Release(ctx); err != nil {
			return err
		}
		seat.Running()
		f.set(func() { f.working = true })
		<-ctx.Done()
		f.set(func() { f.working = false })
		return ctx.Err()
	}
	for n, first := numberOf(seat.Position()), true; ; first = false {
		f.mu.Lock()
		if err := f.failure; err != nil {
			f.mu.Unlock()
			return err
		}
		b := &Batch{}
		from := n
		for ; n < len(f.entries) && n < from+f.size; n++ {
			r := f.record(n + 1)
			b.Records = append(b.Records, r)
			b.Entries, b.Bytes = b.Entries+1, b.Bytes+len(r.Key)+len(r.Value)
		}
		b.AtEnd, b.Cost = n == len(f.entries), int64(b.Bytes)
		grown := f.grown
		f.mu.Unlock()
		if b.Entries > 0 {
			last := n
			b.Of, b.Position = last, func() ([]byte, error) { return json.Marshal(numbered{last}) }
			if err := seat.Send(ctx, b); err != nil {
				return err
			}
			continue
		}
		if first {
			seat.CaughtUp()
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Committed implements Source.
func (f *flow) Committed(batches []*Batch, _ time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range batches {
		if n, ok := b.Of.(int); ok {
			f.committed = max(f.committed, n)
		}
	}
}

// Refused implements Source.
func (f *flow) Refused(refusals []Refusal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range refusals {
		if _, n, ok := originOf(x.Record); ok {
			f.refused[n] = x.Err
		}
	}
}

// Tell implements Source.
func (f *flow) Tell(state State, reason string, _ Halt) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if state != f.state || reason != f.reason {
		f.states = append(f.states, strings.TrimSpace(string(state)+" "+reason))
	}
	f.state, f.reason = state, reason
}

// Idle implements Source.
func (f *flow) Idle(ctx context.Context, d time.Duration) { _ = retry.Sleep(ctx, d) }

// Paused implements Source.
func (f *flow) Paused() (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return "by the test", f.paused
}

// seen is what a flow knows at one moment.
type seen struct {
	state     State
	reason    string
	committed int
	runs      int
	refused   map[int]error
}

func (f *flow) seen() seen {
	f.mu.Lock()
	defer f.mu.Unlock()
	return seen{f.state, f.reason, f.committed, f.runs, maps.Clone(f.refused)}
}

// told are the states and reasons so far.
func (f *flow) told() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.states)
}

// inLanes are the lanes of the seats that Run was called with.
func (f *flow) inLanes() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.lanes)
}

func (f *flow) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// refusals are the numbers of the entries that were refused.
func (f *flow) refusals() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	numbers := make([]int, 0, len(f.refused))
	for n := range f.refused {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return numbers
}

// until polls for something to become true, for two minutes of the bubble.
func (l *lab) until(what string, ok func() bool) {
	l.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	l.t.Fatalf("not within two minutes: %s", what)
}

// delivered waits until a flow has been told that everything is committed.
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
	client, err := kgo.NewClient(append(slices.Clone(l.opts), kgo.ConsumeTopics(topics...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
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
			l.t.Errorf("entry %d of shard %d stands behind %d", n, shard, last[x])
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
	fp, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{}, &kmsg.FetchResponseTopicPartition{RecordBatches: raw}, kgo.DefaultDecompressor(), nil)
	if fp.Err != nil {
		t.Error(fp.Err)
	}
	keys := make([]string, len(fp.Records))
	for i, r := range fp.Records {
		keys[i] = string(r.Key)
	}
	return keys
}
