package relay

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// testEnv is an in-memory Redis and an in-memory Kafka with one outbox, inside a bubble of
// testing/synctest: nothing touches the network, and waiting costs no time. What it shows of Redis
// and Kafka is what the stand-ins know; claims about the real ones are proved on the real ones.
type testEnv struct {
	t       *testing.T
	outbox  string
	shards  int
	mini    *miniredis.Miniredis
	redis   *redis.Client
	cluster *kfake.Cluster
	opts    []kgo.Opt
	kafka   *kgo.Client

	mu     sync.Mutex
	added  map[string]int // by stream: what a real server calls entries-added
	hooks  []server.Hook
	states []ShardStatus
	dead   []Reason
}

// inTestEnv runs f in a bubble with a testEnv whose outbox is laid out. Everything that f starts
// has to have ended when it returns.
func inTestEnv(t *testing.T, shards int, f func(t *testing.T, l *testEnv)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newTestEnv(t, shards)
		defer l.close()
		f(t, l)
	})
}

func newTestEnv(t *testing.T, shards int) *testEnv {
	t.Helper()
	l := &testEnv{
		t: t, outbox: "orders", shards: shards, mini: miniredis.NewMiniRedis(),
		added: map[string]int{},
	}
	dial := func(context.Context, string, string) (net.Conn, error) { return l.mini.Dial() }
	l.redis = redis.NewClient(&redis.Options{
		Dialer: dial, PoolSize: 32, DisableIdentity: true,
		// it looks the address up
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	if err := l.redis.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	l.mini.Server().SetPreHook(l.hook)
	l.mini.HSet(names.LayoutKey(l.outbox), "version", strconv.Itoa(LayoutVersion), "format", "1",
		"shards", strconv.Itoa(shards), "created", "1")
	for shard := range shards {
		if err := l.redis.XGroupCreateMkStream(t.Context(), l.stream(shard), names.ConsumerGroup,
			"0").Err(); err != nil {
			t.Fatal(err)
		}
	}

	var network kfake.VirtualNetwork
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(19092),
		kfake.ListenFn(network.Listen),
		kfake.SeedTopics(int32(shards), names.PositionsTopic(l.outbox)), kfake.SeedTopics(1,
			names.DeadLetterTopic(l.outbox)))
	if err != nil {
		t.Fatal(err)
	}
	l.cluster = cluster
	l.opts = []kgo.Opt{
		kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.Dialer(network.DialContext),
		kgo.MetadataMinAge(10 * time.Millisecond), kgo.DisableClientMetrics(),
	}
	if l.kafka, err = kgo.NewClient(l.opts...); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *testEnv) close() {
	l.kafka.Close()
	l.cluster.Close()
	if err := l.redis.Close(); err != nil {
		l.t.Error(err)
	}
	l.mini.Close()
}

func (l *testEnv) stream(shard int) string { return outbox.StreamKey(l.outbox, shard) }

// hook answers XINFO STREAM as Redis 7 does, of which miniredis knows a part, and then whatever a
// test has set.
func (l *testEnv) hook(c *server.Peer, cmd string, args ...string) bool {
	l.mu.Lock()
	hooks := slices.Clone(l.hooks)
	l.mu.Unlock()
	for _, h := range hooks {
		if h(c, cmd, args...) {
			return true
		}
	}
	if cmd == "XGROUP" && len(args) > 3 && strings.EqualFold(args[0], "SETID") {
		return l.setGroup(c, args)
	}
	if cmd != "XINFO" || len(args) != 2 || !strings.EqualFold(args[0], "STREAM") ||
		!l.mini.Exists(args[1]) || l.mini.Type(args[1]) != "stream" {
		return false
	}
	entries, err := l.mini.Stream(args[1])
	if err != nil {
		return false
	}
	last := "0-0"
	if len(entries) > 0 {
		last = entries[len(entries)-1].ID
	}
	l.mu.Lock()
	added := l.added[args[1]]
	l.mu.Unlock()
	c.WriteMapLen(4)
	c.WriteBulk("length")
	c.WriteInt(len(entries))
	c.WriteBulk("last-generated-id")
	c.WriteBulk(last)
	c.WriteBulk("max-deleted-entry-id")
	c.WriteBulk("0-0")
	c.WriteBulk("entries-added")
	c.WriteInt(added)
	return true
}

// setGroup is XGROUP SETID, which miniredis does not know: the group is made again. What is pending
// is lost, which it is not on a real server.
func (l *testEnv) setGroup(c *server.Peer, args []string) bool {
	nobody := server.NewPeer(bufio.NewWriter(io.Discard))
	l.mini.Server().Dispatch(nobody, []string{"XGROUP", "DESTROY", args[1], args[2]})
	l.mini.Server().Dispatch(c, []string{"XGROUP", "CREATE", args[1], args[2], args[3]})
	return true
}

// on lets f answer commands before the stand-in does; it returns true if it did.
func (l *testEnv) on(f server.Hook) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hooks = append(l.hooks, f)
}

// event are the fields of a small event, with further ones after them.
func event(id, key string, more ...string) []string {
	return append([]string{
		"id", id, "aggregatetype", "order", "aggregateid", key, "type", "Placed",
		"payload", `{"n":1}`, "headers", "{}",
	}, more...)
}

// add appends one entry to a shard's stream, with the ID if it is not "*".
func (l *testEnv) add(shard int, id string, fields ...string) outbox.EntryID {
	l.t.Helper()
	text, err := l.mini.XAdd(l.stream(shard), id, fields)
	if err != nil {
		l.t.Fatal(err)
	}
	l.mu.Lock()
	l.added[l.stream(shard)]++
	l.mu.Unlock()
	parsed, err := outbox.ParseEntryID(text)
	if err != nil {
		l.t.Fatal(err)
	}
	return parsed
}

// addEvents appends n events with the ids e-<from>… and ten keys.
func (l *testEnv) addEvents(shard, from, n int) {
	l.t.Helper()
	for i := from; i < from+n; i++ {
		l.add(shard, "*", event("e-"+strconv.Itoa(i), "k"+strconv.Itoa(i%10))...)
	}
}

func (l *testEnv) config() Config {
	return Config{
		Outbox: l.outbox, Redis: l.redis, Kafka: l.opts, Instance: "relay-1",
		Logger: slog.New(slog.NewTextHandler(l.t.Output(), nil)),
		Observer: &Observer{
			StateChanged: func(st ShardStatus) {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.states = append(l.states, st)
			},
			DeadLettered: func(_ int, _ outbox.EntryID, reason Reason) {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.dead = append(l.dead, reason)
			},
		},
	}
}

// start runs a relay; the returned func stops it and gives what Run returned.
func (l *testEnv) start(cfg Config) (*Relay, func() error) {
	l.t.Helper()
	r, err := New(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return r, sync.OnceValue(func() error { cancel(); return <-done })
}

// run is start for a relay that has to end without an error.
func (l *testEnv) run(cfg Config) (*Relay, func()) {
	l.t.Helper()
	r, stop := l.start(cfg)
	return r, func() {
		l.t.Helper()
		if err := stop(); err != nil {
			l.t.Errorf("Run: %v", err)
		}
	}
}

func (l *testEnv) consumer(topics ...string) *kgo.Client {
	l.t.Helper()
	client, err := kgo.NewClient(append(slices.Clone(l.opts), kgo.ConsumeTopics(topics...),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.UnknownTopicRetries(-1), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		l.t.Fatal(err)
	}
	return client
}

// consume reads n records as a read_committed consumer does.
func (l *testEnv) consume(n int, topics ...string) []*kgo.Record {
	l.t.Helper()
	client := l.consumer(topics...)
	defer client.Close()
	ctx, cancel := context.WithTimeout(l.t.Context(), 2*time.Minute) // of the bubble
	defer cancel()
	var got []*kgo.Record
	for len(got) < n {
		got = append(got, client.PollFetches(ctx).Records()...)
		if ctx.Err() != nil {
			l.t.Fatalf("%d of %d records", len(got), n)
		}
	}
	return got
}

// all are the records that a read_committed consumer finds in topics now.
func (l *testEnv) all(topics ...string) []*kgo.Record {
	l.t.Helper()
	client := l.consumer(topics...)
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

// until waits for a state of a shard.
func (l *testEnv) until(r *Relay, shard int, want State) ShardStatus {
	l.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(
		10 * time.Millisecond) {
		for _, st := range r.Status() {
			if st.Shard == shard && st.State == want {
				return st
			}
		}
	}
	l.t.Fatalf("shard %d is not %s: %+v", shard, want, r.Status())
	return ShardStatus{}
}

// position waits until a shard's committed position is the entry.
func (l *testEnv) position(shard int, entry outbox.EntryID) Position {
	l.t.Helper()
	var last Position
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(
		10 * time.Millisecond) {
		positions, err := ReadPositions(l.t.Context(), l.opts, l.outbox, l.shards)
		if err != nil {
			l.t.Fatal(err)
		}
		if last = positions[shard]; last.Entry == entry {
			return last
		}
	}
	l.t.Fatalf("position of shard %d is %s, want %s", shard, last.Entry, entry)
	return last
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

func (l *testEnv) admin() *kadm.Client { return kadm.NewClient(l.kafka) }

// refuse has the broker refuse batches for a topic in which a bad event is, by its id, as KIP-467
// says it, with or without naming them.
func (l *testEnv) refuse(topic string, bad func(id string) bool, named bool) {
	topicID := l.cluster.TopicInfo(topic).TopicID
	l.cluster.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		l.cluster.KeepControl()
		req := r.(*kmsg.ProduceRequest)
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		refused := false
		for _, rt := range req.Topics {
			st := kmsg.NewProduceResponseTopic()
			st.Topic, st.TopicID = rt.Topic, rt.TopicID
			for _, rp := range rt.Partitions {
				sp := kmsg.NewProduceResponseTopicPartition()
				// what is beside it is sent again
				sp.Partition, sp.ErrorCode = rp.Partition, kerr.NotLeaderForPartition.Code
				if rt.Topic == topic || rt.TopicID == topicID {
					for i, rec := range l.batch(rp.Records) {
						if !bad(header(rec, "id")) {
							continue
						}
						refused = true
						sp.ErrorCode = kerr.InvalidRecord.Code
						if named {
							e := kmsg.NewProduceResponseTopicPartitionErrorRecord()
							e.RelativeOffset = int32(i)
							sp.ErrorRecords = append(sp.ErrorRecords, e)
						}
					}
				}
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		return resp, nil, refused
	})
}

// batch decodes an encoded batch.
func (l *testEnv) batch(raw []byte) []*kgo.Record {
	fp, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{},
		&kmsg.FetchResponseTopicPartition{RecordBatches: raw}, kgo.DefaultDecompressor(), nil)
	if fp.Err != nil {
		l.t.Error(fp.Err)
	}
	return fp.Records
}
