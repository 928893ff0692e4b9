package inbox

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

const events = "outbox.event.order"

// lab is an in-memory Redis and an in-memory Kafka with one topic, inside a bubble of
// testing/synctest: waiting costs no time. What it shows of Redis and Kafka is what the stand-ins
// know; claims about the real ones are proved on the real ones.
type lab struct {
	t       *testing.T
	mini    *miniredis.Miniredis
	redis   *redis.Client
	cluster *kfake.Cluster
	opts    []kgo.Opt
	kafka   *kgo.Client

	mu      sync.Mutex
	hooks   []server.Hook
	applied []Commit
	dead    []Reason
	halts   []PartitionStatus
}

// inLab runs f in a bubble. Everything that f starts has to have ended when it returns.
func inLab(t *testing.T, partitions int, f func(t *testing.T, l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, partitions)
		defer l.close()
		f(t, l)
	})
}

func newLab(t *testing.T, partitions int) *lab {
	t.Helper()
	l := &lab{t: t, mini: miniredis.NewMiniRedis()}
	dial := func(context.Context, string, string) (net.Conn, error) {
		conn, err := l.mini.Dial()
		if err != nil {
			return nil, err
		}
		return buffered(conn), nil
	}
	l.redis = redis.NewClient(&redis.Options{
		Dialer: dial, PoolSize: 32, DisableIdentity: true,
		// it looks the address up
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	if err := l.redis.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	l.mini.Server().SetPreHook(func(c *server.Peer, cmd string, args ...string) bool {
		l.mu.Lock()
		hooks := slices.Clone(l.hooks)
		l.mu.Unlock()
		return slices.ContainsFunc(hooks, func(h server.Hook) bool { return h(c, cmd, args...) })
	})
	var network kfake.VirtualNetwork
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(19092),
		kfake.ListenFn(network.Listen), kfake.SeedTopics(int32(partitions), events))
	if err != nil {
		t.Fatal(err)
	}
	l.cluster = cluster
	l.opts = []kgo.Opt{
		kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.Dialer(network.DialContext),
		kgo.MetadataMinAge(10 * time.Millisecond), kgo.DisableClientMetrics(),
	}
	if l.kafka, err = kgo.NewClient(
		append(slices.Clone(l.opts), kgo.RecordPartitioner(kgo.ManualPartitioner()))...); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *lab) close() {
	l.kafka.Close()
	l.cluster.Close()
	if err := l.redis.Close(); err != nil {
		l.t.Error(err)
	}
	l.mini.Close()
}

// on lets f answer commands before the stand-in does; it returns true if it did.
func (l *lab) on(f server.Hook) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hooks = append(l.hooks, f)
}

// dispatch runs a command and throws its reply away.
func (l *lab) dispatch(args ...string) {
	l.mini.Server().Dispatch(server.NewPeer(bufio.NewWriter(io.Discard)), args)
}

// config is one whose handler counts every record under its key and remembers the order.
func (l *lab) config() Config {
	return Config{
		Inbox: "shipping", Redis: l.redis, Kafka: l.opts, Topics: []string{events}, Instance: "i1",
		Handle: l.tally,
		Logger: slog.New(slog.NewTextHandler(l.t.Output(), nil)),
		Retry:  Retry{Attempts: 2},
		Observer: &Observer{
			Applied: func(c Commit) {
				l.mu.Lock()
				defer l.mu.Unlock()
				c.Ages = nil
				l.applied = append(l.applied, c)
			},
			DeadLettered: func(_ string, _ int32, _ int64, reason Reason) {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.dead = append(l.dead, reason)
			},
			StateChanged: func(st PartitionStatus) {
				l.mu.Lock()
				defer l.mu.Unlock()
				if st.State == Halted {
					l.halts = append(l.halts, st)
				}
			},
		},
	}
}

// tally appends the record's value to the list of its key. The list shows what took effect, how
// often and in which order.
func (l *lab) tally(ctx context.Context, tx *Tx, r Record) error {
	tx.Queue().RPush(ctx, tx.StateKey("seen:"+r.Key), string(r.Value))
	return nil
}

// seen is what took effect of a key in a partition.
func (l *lab) seen(partition int, key string) []string {
	l.t.Helper()
	got, err := l.redis.LRange(l.t.Context(), fmt.Sprintf("{shipping:%d}:seen:%s", partition, key), 0,
		-1).Result()
	if err != nil {
		l.t.Fatal(err)
	}
	return got
}

// produce writes records of one key to a partition, with the values from…to-1.
func (l *lab) produce(partition int32, key string, from, to int) {
	l.t.Helper()
	var records []*kgo.Record
	for i := from; i < to; i++ {
		records = append(records, &kgo.Record{
			Topic: events, Partition: partition, Key: []byte(key),
			Value: []byte(strconv.Itoa(i)),
		})
	}
	l.write(records...)
}

func (l *lab) write(records ...*kgo.Record) {
	l.t.Helper()
	if err := l.kafka.ProduceSync(l.t.Context(), records...).FirstErr(); err != nil {
		l.t.Fatal(err)
	}
}

// start runs an inbox; the returned func stops it.
func (l *lab) start(cfg Config) (*Inbox, func()) {
	l.t.Helper()
	in, err := New(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	return in, sync.OnceFunc(func() {
		l.t.Helper()
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("Run: %v", err)
		}
	})
}

// until waits for something to become true.
func (l *lab) until(what string, f func() bool) {
	l.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !f(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.t.Fatalf("%s: not within two minutes", what)
		}
	}
}

// next is the position of a partition; -1: there is none.
func (l *lab) next(partition int32) int64 {
	l.t.Helper()
	pos, err := readPosition(l.t.Context(), l.redis,
		keysOf("shipping", "shipping", int(partition), events, partition))
	if err != nil {
		l.t.Fatal(err)
	}
	if pos == nil {
		return -1
	}
	return pos.Next
}

func (l *lab) untilNext(partition int32, want int64) {
	l.t.Helper()
	l.until(fmt.Sprintf("position %d of partition %d", want, partition), func() bool {
		return l.next(partition) >= want
	})
}

// untilState waits for a state of a partition.
func (l *lab) untilState(in *Inbox, partition int32, want State) (found PartitionStatus) {
	l.t.Helper()
	l.until(string(want), func() bool {
		for _, st := range in.Status() {
			if st.Partition == partition {
				found = st
				return st.State == want
			}
		}
		return false
	})
	return found
}

func (l *lab) admin(cfg Config) *Admin {
	l.t.Helper()
	a, err := NewAdmin(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	return a
}

func (l *lab) kadm() *kadm.Client { return kadm.NewClient(l.kafka) }

// letters are the dead letters that stand in the topic.
func (l *lab) letters(cfg Config) []*Letter {
	l.t.Helper()
	a := l.admin(cfg)
	defer a.Close()
	letters, err := a.Letters(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	return letters
}

// numbers are the texts from…to-1.
func numbers(from, to int) []string {
	var all []string
	for i := from; i < to; i++ {
		all = append(all, strconv.Itoa(i))
	}
	return all
}
