//go:build integration

package outbox_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

func TestMain(m *testing.M) { integration.Main(m) }

// startRedis starts a server of the test's own.
func startRedis(t testing.TB, config ...string) *servers.Redis {
	t.Helper()
	r, err := servers.StartRedis(integration.Context(t, 30*time.Second),
		servers.RedisOptions{Config: config})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, r)
	t.Logf("server: %s, %s", r.Version, r.Origin)
	return r
}

// testEnv is an outbox on a real server, and the client of its writer.
type testEnv struct {
	name   string
	client redis.UniversalClient
	admin  redis.Cmdable // what the test itself uses; nothing breaks it
	shards int
}

// newTestEnv creates the outbox of the test on a server. change may adapt the options of the
// writer's client.
func newTestEnv(t testing.TB, r *servers.Redis, shards int, change func(*redis.Options)) *testEnv {
	t.Helper()
	p := &testEnv{
		name: integration.Prefix(t),
		client: integration.RedisClient(t, r, func(o *redis.Options) {
			o.ClientName = "under-test"
			if change != nil {
				change(o)
			}
		}),
		admin:  integration.RedisClient(t, r, nil),
		shards: shards,
	}
	createLayout(t, p.admin, p.name, shards)
	return p
}

// createLayout writes the layout as a migration leaves it.
func createLayout(t testing.TB, client redis.Cmdable, name string, shards int) {
	t.Helper()
	err := client.HSet(context.Background(), names.LayoutKey(name), "version", 2, "format", 1,
		"shards", shards).Err()
	if err != nil {
		t.Fatal(err)
	}
}

func (p *testEnv) writer(t testing.TB, cfg outbox.Config) *outbox.Writer {
	t.Helper()
	cfg.Outbox = p.name
	w, err := outbox.NewWriter(p.client, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (p *testEnv) stream(key string) string {
	return outbox.StreamKey(p.name, outbox.Shard(key, p.shards))
}

// state is the key of a counter that every transaction of a test increments, in the slot of key's
// shard.
func (p *testEnv) state(key string) string {
	return outbox.StateKey(p.name, outbox.Shard(key, p.shards), "count")
}

// drain closes the client and waits until the server has read, and run, whatever it sent: only then
// do its connections disappear.
func (p *testEnv) drain(ctx context.Context, t testing.TB) {
	t.Helper()
	if err := p.client.Close(); err != nil {
		t.Fatal(err)
	}
	for ctx.Err() == nil {
		list, err := p.admin.ClientList(ctx).Result()
		switch {
		case err != nil:
			t.Fatal(err)
		case !strings.Contains(list, "name=under-test"):
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// committed is how many transactions that increment the counter and append one event took effect.
// It fails the test if state and events differ.
func (p *testEnv) committed(t testing.TB, key string) int {
	t.Helper()
	ctx := context.Background()
	events, err := p.admin.XLen(ctx, p.stream(key)).Result()
	if err != nil {
		t.Fatal(err)
	}
	value, err := p.admin.Get(ctx, p.state(key)).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	if value == "" {
		value = "0"
	}
	if value != strconv.FormatInt(events, 10) {
		t.Errorf("state says %s transactions, there are %d events", value, events)
	}
	return int(events)
}

// count is a transaction of such a test.
func (p *testEnv) count(ctx context.Context, key string) func(*outbox.Tx) error {
	return func(tx *outbox.Tx) error {
		tx.Queue().Incr(ctx, p.state(key))
		return tx.Append(event(key))
	}
}
