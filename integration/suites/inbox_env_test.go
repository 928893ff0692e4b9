//go:build integration

package suites_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/process"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay/inbox"
)

// inboxProcessEnv makes this test's program an instance of an inbox.
const inboxProcessEnv = "SLUICE_TEST_INBOX"

// inboxSettings say what such a process does.
type inboxSettings struct {
	Inbox, Topic, Instance string
	Redis                  redisAddress
	Brokers                []string
	MaxRecords             int
}

type redisAddress struct {
	Addr, Username, Password string
	DB                       int
}

func (s inboxSettings) config(client redis.UniversalClient) inbox.Config {
	return inbox.Config{
		Inbox: s.Inbox, Redis: client, Kafka: []kgo.Opt{kgo.SeedBrokers(s.Brokers...)},
		Topics: []string{s.Topic}, Instance: s.Instance,
		MaxRecords: s.MaxRecords, SessionTimeout: session, HousekeepingInterval: 200 * time.Millisecond,
		Handle: tally,
	}
}

// tally counts each record under its key and keeps its number as the key's last. For one key in a
// hundred it reads before it writes, and counts what does not follow what came before.
func tally(ctx context.Context, tx *inbox.Tx, r inbox.Record) error {
	number, err := strconv.Atoi(string(r.Value))
	if err != nil {
		return inbox.Poison(err)
	}
	if strings.HasSuffix(r.Key, "00") {
		last, err := tx.Read().HGet(ctx, tx.StateKey("last"), r.Key).Int()
		if errors.Is(err, redis.Nil) {
			last, err = -1, nil
		}
		if err != nil {
			return err
		}
		if number != last+1 {
			tx.Queue().HIncrBy(ctx, tx.StateKey("disorder"), r.Key, 1)
		}
	}
	tx.Queue().HIncrBy(ctx, tx.StateKey("count"), r.Key, 1)
	tx.Queue().HSet(ctx, tx.StateKey("last"), r.Key, number)
	return nil
}

// runInboxProcess runs an instance until SIGTERM.
func runInboxProcess(text string) {
	var s inboxSettings
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		panic(err)
	}
	client := redis.NewClient(&redis.Options{
		Addr: s.Redis.Addr, Username: s.Redis.Username,
		Password: s.Redis.Password, DB: s.Redis.DB, PoolSize: 32,
	})
	defer client.Close()
	cfg := s.config(client)
	cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	in, err := inbox.New(cfg)
	if err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := in.Run(ctx); err != nil {
		panic(err)
	}
}

// inboxWorld is a topic and an inbox of its own on real servers.
type inboxWorld struct {
	t          *testing.T
	settings   inboxSettings
	redis      redis.UniversalClient
	kafka      *kgo.Client
	admin      *kadm.Client
	partitions int
	written    map[string]int // records, by key
}

func newInboxWorld(t *testing.T, partitions int) *inboxWorld {
	t.Helper()
	s := integration.Servers(t)
	t.Logf("servers: %s, %s", s.Redis.Version, s.Kafka.Version)
	name := integration.Prefix(t)
	o := s.Redis.Options()
	w := &inboxWorld{
		t: t, partitions: partitions, written: map[string]int{},
		settings: inboxSettings{
			Inbox: name, Topic: name + ".events", Brokers: s.Kafka.Addrs(),
			Redis: redisAddress{o.Addr, o.Username, o.Password, o.DB},
		},
		redis: integration.RedisClient(t, s.Redis, func(o *redis.Options) { o.PoolSize = 64 }),
		kafka: integration.KafkaClient(t, s.Kafka, kgo.RecordPartitioner(kgo.ManualPartitioner()),
			kgo.MetadataMinAge(100*time.Millisecond)),
	}
	w.admin = kadm.NewClient(w.kafka)
	w.create(partitions)
	return w
}

func (w *inboxWorld) create(partitions int) {
	w.t.Helper()
	if _, err := w.admin.CreateTopic(deadline(w.t, time.Minute), int32(partitions), -1, nil,
		w.settings.Topic); err != nil {
		w.t.Fatal(err)
	}
}

// write appends the next records of random keys.
func (w *inboxWorld) write(n, keys int, random *rand.Rand) {
	w.t.Helper()
	records := make([]*kgo.Record, n)
	for i := range records {
		key := "k" + strconv.Itoa(random.IntN(keys))
		records[i] = &kgo.Record{
			Topic: w.settings.Topic, Partition: int32(outbox.Partition([]byte(key), w.partitions)),
			Key: []byte(key), Value: strconv.AppendInt(nil, int64(w.written[key]), 10),
		}
		w.written[key]++
	}
	if err := w.kafka.ProduceSync(deadline(w.t, 2*time.Minute), records...).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

// spawn starts an instance in a process of its own.
func (w *inboxWorld) spawn(instance string, maxRecords int) *process.Process {
	w.t.Helper()
	s := w.settings
	s.Instance, s.MaxRecords = instance, maxRecords
	text, err := json.Marshal(s)
	if err != nil {
		w.t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	p, err := process.Start(process.Command{
		Name: instance, Path: program,
		Env: []string{inboxProcessEnv + "=" + string(text)},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	integration.CloseAtEnd(w.t, p)
	w.t.Cleanup(func() {
		if lines := strings.Split(strings.TrimSpace(p.Output()), "\n"); w.t.Failed() {
			w.t.Logf("%s:\n%s", instance, strings.Join(lines[max(0, len(lines)-8):], "\n"))
		}
	})
	return p
}

// run starts an instance in this process; the returned func stops it.
func (w *inboxWorld) run(change func(*inbox.Config)) (*inbox.Inbox, func()) {
	w.t.Helper()
	cfg := w.settings.config(w.redis)
	cfg.Logger = slog.New(slog.NewTextHandler(w.t.Output(), nil))
	change(&cfg)
	in, err := inbox.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
	w.t.Cleanup(stop)
	return in, stop
}

func (w *inboxWorld) operator() *inbox.Admin {
	w.t.Helper()
	a, err := inbox.NewAdmin(w.settings.config(w.redis))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		defer a.Close()
		if !w.t.Failed() {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		status, err := a.Status(ctx)
		for _, st := range status {
			w.t.Logf("partition %d: %s of %s, told %s ago: %s (expected %s, found %s); lag %d, position %+v",
				st.Partition, st.State, st.Instance,
				time.Since(st.ToldAt).Round(time.Second), st.Reason, st.Expected, st.Found, st.Lag, st.Position)
		}
		if err != nil {
			w.t.Log(err)
		}
	})
	return a
}

// await waits until f is true.
func (w *inboxWorld) await(within time.Duration, what string, f func() bool) {
	w.t.Helper()
	for end := time.Now().Add(within); !f(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%s: not within %s", what, within)
		}
	}
}

// passed is how many records positions have passed.
func (w *inboxWorld) passed(a *inbox.Admin) (n uint64) {
	status, err := a.Status(deadline(w.t, time.Minute))
	if err != nil {
		return 0 // not started yet, or a server that is busy
	}
	for _, st := range status {
		if st.Position != nil {
			n += st.Position.Count
		}
	}
	return n
}

// awaitState waits for a state of a partition of an instance in this process.
func (w *inboxWorld) awaitState(in *inbox.Inbox, partition int32,
	want inbox.State,
) (found inbox.PartitionStatus) {
	w.t.Helper()
	w.await(time.Minute, "state "+string(want), func() bool {
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

// verify holds the counters and the last values against what was written.
func (w *inboxWorld) verify() {
	w.t.Helper()
	ctx := deadline(w.t, time.Minute)
	counts, lasts := map[string]int{}, map[string]int{}
	var wrong []string
	for p := range w.partitions {
		for name, into := range map[string]map[string]int{"count": counts, "last": lasts} {
			fields, err := w.redis.HGetAll(ctx, outbox.StateKey(w.settings.Inbox, p, name)).Result()
			if err != nil {
				w.t.Fatal(err)
			}
			for key, text := range fields {
				n, err := strconv.Atoi(text)
				if _, twice := into[key]; err != nil || twice {
					wrong = append(wrong, fmt.Sprintf("%s of %s is %s, and in two partitions: %v", name, key, text,
						twice))
				}
				into[key] = n
			}
		}
		disorder, err := w.redis.HGetAll(ctx, outbox.StateKey(w.settings.Inbox, p, "disorder")).Result()
		if err != nil {
			w.t.Fatal(err)
		}
		for key, n := range disorder {
			wrong = append(wrong, fmt.Sprintf("%s: %s out of order", key, n))
		}
	}
	for key, n := range w.written {
		if counts[key] != n || lasts[key] != n-1 {
			wrong = append(wrong, fmt.Sprintf("%s: %d took effect, the last was %d; %d were written", key,
				counts[key], lasts[key], n))
		}
	}
	if len(counts) != len(w.written) {
		wrong = append(wrong, fmt.Sprintf("%d keys, want %d", len(counts), len(w.written)))
	}
	slices.Sort(wrong)
	if len(wrong) > 0 {
		w.t.Errorf("%d findings, the first are:\n%s", len(wrong),
			strings.Join(wrong[:min(len(wrong), 20)], "\n"))
	}
}
