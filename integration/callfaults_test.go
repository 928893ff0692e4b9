package integration

import (
	"errors"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func faultyRedis(t *testing.T, f *CallFaults) (*redis.Client, *miniredis.Miniredis) {
	t.Helper()
	m := miniredis.RunT(t)
	c := redis.NewClient(&redis.Options{Addr: m.Addr(), Dialer: f.Dial, MaxRetries: -1, PoolSize: 1})
	t.Cleanup(func() { _ = c.Close() })
	return c, m
}

// addTwo counts n up, in a transaction that does not fit into one write.
func addTwo(t *testing.T, c *redis.Client) error {
	t.Helper()
	_, err := c.TxPipelined(t.Context(), func(p redis.Pipeliner) error {
		p.Incr(t.Context(), "n")
		p.Set(t.Context(), "big", strings.Repeat("x", 100_000), 0)
		return nil
	})
	return err
}

func TestRedisCallLost(t *testing.T) {
	t.Parallel()
	for mode, done := range map[FaultMode]string{RequestLost: "1", ReplyLost: "2"} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			f := RedisFaults("exec")
			c, m := faultyRedis(t, f)
			f.Fail(2, mode)
			if err := addTwo(t, c); err != nil {
				t.Fatal(err)
			}
			if err := addTwo(t, c); !errors.Is(err, syscall.ECONNRESET) {
				t.Fatalf("second EXEC: %v, want a reset connection", err)
			}
			if !f.Fired() || f.Calls() != 2 {
				t.Fatalf("fired %v after %d calls", f.Fired(), f.Calls())
			}
			if n, err := m.Get("n"); err != nil || n != done {
				t.Fatalf("n = %s, %v; want %s", n, err, done)
			}
			if err := addTwo(t, c); err != nil {
				t.Fatalf("after the failure: %v", err)
			}
		})
	}
}

func TestRepliesBeforeTheLostOneArrive(t *testing.T) {
	t.Parallel()
	f := RedisFaults("GET")
	f.Fail(1, ReplyLost)
	conn, err := f.Dial(t.Context(), "tcp", miniredis.RunT(t).Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn,
		"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n"); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if string(got) != "+OK\r\n" || !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("read %q, %v", got, err)
	}
	if _, err := io.WriteString(conn, "x"); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("write after the loss: %v", err)
	}
}

func TestEachCallFailsEachOnce(t *testing.T) {
	t.Parallel()
	for _, mode := range []FaultMode{RequestLost, ReplyLost} {
		f := RedisFaults("INCR")
		c, _ := faultyRedis(t, f)
		failures := 0
		n, err := f.EachCall(mode, 10, func(int) error {
			for range 3 {
				if c.Incr(t.Context(), "n").Err() != nil {
					failures++
				}
			}
			return nil
		})
		if err != nil || n != 3 || failures != 3 {
			t.Fatalf("%s: %d calls, %d failures, %v; want 3, 3", mode, n, failures, err)
		}
		if _, err := f.EachCall(mode, 2, func(int) error {
			c.Incr(t.Context(), "n")
			c.Incr(t.Context(), "n")
			return nil
		}); err == nil {
			t.Fatal("no error at the limit")
		}
	}
}

func TestKafkaCallLost(t *testing.T) {
	t.Parallel()
	// The client is not idempotent and sends the record once more: it is there twice if the first
	// request arrived.
	for mode, want := range map[FaultMode]int64{RequestLost: 1, ReplyLost: 2} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(fake.Close)
			f := KafkaFaults(kmsg.Produce)
			c, err := kgo.NewClient(kgo.SeedBrokers(fake.ListenAddrs()...), kgo.Dialer(f.Dial),
				kgo.DisableIdempotentWrite(), kgo.MetadataMinAge(10*time.Millisecond))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			f.Fail(1, mode)
			if err := c.ProduceSync(t.Context(),
				&kgo.Record{Topic: "t", Value: []byte("x")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
			if !f.Fired() || f.Calls() != 2 {
				t.Fatalf("fired %v after %d calls", f.Fired(), f.Calls())
			}
			req := kmsg.NewPtrListOffsetsRequest()
			req.ReplicaID = -1
			topic := kmsg.NewListOffsetsRequestTopic()
			topic.Topic = "t"
			part := kmsg.NewListOffsetsRequestTopicPartition()
			part.Timestamp = -1
			topic.Partitions = append(topic.Partitions, part)
			req.Topics = append(req.Topics, topic)
			resp, err := req.RequestWith(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if end := resp.Topics[0].Partitions[0].Offset; end != want {
				t.Fatalf("%d records arrived, want %d", end, want)
			}
		})
	}
}

func TestKafkaClientRecoversFromALostCall(t *testing.T) {
	t.Parallel()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	f := KafkaFaults()
	c, err := kgo.NewClient(kgo.SeedBrokers(fake.ListenAddrs()...), kgo.Dialer(f.Dial),
		kgo.RetryBackoffFn(func(int) time.Duration {
			return time.Millisecond
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for n := range 10 {
		f.Fail(n+1, ReplyLost)
		if err := c.ProduceSync(t.Context(),
			&kgo.Record{Topic: "t", Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatalf("call %d lost: %v", n+1, err)
		}
	}
}

func TestCallFaultsInParallel(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	f := RedisFaults()
	c := redis.NewClient(&redis.Options{Addr: m.Addr(), Dialer: f.Dial})
	t.Cleanup(func() { _ = c.Close() })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for n := range 50 {
				f.Fail(1+n%5, FaultMode(n%2))
				c.Incr(t.Context(), "n")
			}
		})
	}
	wg.Wait()
}
