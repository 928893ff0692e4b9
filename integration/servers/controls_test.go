//go:build integration

package servers_test

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
)

func TestMain(m *testing.M) { integration.Main(m) }

func TestRedisControls(t *testing.T) {
	t.Parallel()
	ctx := integration.Context(t, time.Minute)
	r, err := servers.StartRedis(ctx, servers.RedisOptions{Config: []string{"appendfsync always"}})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, r)
	c := integration.RedisClient(t, r, nil)
	set := func(key string) {
		t.Helper()
		if err := c.Set(ctx, key, "1", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	keys := func(want int64) {
		t.Helper()
		if n, err := c.DBSize(ctx).Result(); err != nil || n != want {
			t.Fatalf("keys: %d, %v; want %d", n, err, want)
		}
	}

	set("before")
	files, err := r.CopyData(ctx)
	if err != nil {
		t.Fatal(err)
	}
	set("after")
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.Ping(ctx).Err(); err == nil {
		t.Fatal("a killed server answered")
	}
	if err := r.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	keys(2)
	for range 2 {
		if err := r.RestoreData(ctx, files); err != nil {
			t.Fatal(err)
		}
		keys(1)
		set("again")
	}
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	short := integration.Context(t, 100*time.Millisecond)
	if err := c.WithTimeout(100 * time.Millisecond).Ping(short).Err(); err == nil {
		t.Fatal("a stopped server answered")
	}
	if err := r.Cont(); err != nil {
		t.Fatal(err)
	}
	keys(2)
	pid := r.PID()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Kill(); !errors.Is(err, os.ErrClosed) {
		t.Fatalf("control of a closed server: %v", err)
	}
	if r.Origin == servers.OriginLocal && !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		t.Fatalf("process %d outlived Close", pid)
	}
}

func TestKafkaControls(t *testing.T) {
	t.Parallel()
	ctx := integration.Context(t, 2*time.Minute)
	k, err := servers.StartKafka(ctx,
		servers.KafkaOptions{Properties: map[string]string{"num.partitions": "3"}})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, k)
	c := integration.KafkaClient(t, k, kgo.AllowAutoTopicCreation())
	send := func() {
		t.Helper()
		if err := c.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	send()
	for _, end := range []func() error{k.Kill, func() error { return k.Brokers[0].Shutdown(ctx) }} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := k.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		t.Logf("restarted in %v", time.Since(begin))
		send()
	}
	if err := k.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := k.Cont(); err != nil {
		t.Fatal(err)
	}
	send()
}
