//go:build integration

package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/outbox"
)

// newClusterEnv creates the outbox of the test on a cluster of its own. Six shards are on all
// three of its nodes.
func newClusterEnv(t *testing.T) *testEnv {
	t.Helper()
	c, err := servers.StartRedisCluster(integration.Context(t, time.Minute), servers.RedisOptions{})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, c)
	p := &testEnv{name: integration.Prefix(t), shards: 6}
	admin := redis.NewClusterClient(c.Options())
	client := redis.NewClusterClient(c.Options())
	integration.CloseAtEnd(t, admin)
	integration.CloseAtEnd(t, client)
	p.admin, p.client = admin, client
	createLayout(t, admin, p.name, p.shards)
	return p
}

// TestClusterEveryWay commits on every shard in every way that there is.
func TestClusterEveryWay(t *testing.T) {
	p := newClusterEnv(t)
	ctx := integration.Context(t, time.Minute)
	w := p.writer(t, outbox.Config{})
	nodes := map[string]bool{}
	for shard := range p.shards {
		key := keyOf(t, shard, p.shards)
		node, err := p.client.(*redis.ClusterClient).MasterForKey(ctx, p.stream(key))
		if err != nil {
			t.Fatal(err)
		}
		nodes[node.Options().Addr] = true

		for n, opts := range [][]outbox.TxOption{
			nil,
			{outbox.WithWatch(p.state(key))},
			{outbox.WithIdempotencyKey("a")},
			{outbox.WithIdempotencyKey("a")}, // the same again
			{outbox.WithIdempotencyKey("b"), outbox.WithWatch(p.state(key))},
			{outbox.WithWait(outbox.Wait{Replicas: 1, Timeout: 20 * time.Millisecond})}, // there are none
		} {
			res, err := w.Tx(ctx, key, p.count(ctx, key), opts...)
			if outbox.OutcomeOf(err) != outbox.Committed || (err != nil) != (n == 5) ||
				res.AlreadyAppended != (n == 3) || res.Shard != shard {
				t.Errorf("shard %d, options %d: %+v, %v", shard, n, res, err)
			}
		}

		pipe := p.client.TxPipeline()
		pipe.Incr(ctx, p.state(key))
		appended, err := w.Append(ctx, pipe, event(key))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = pipe.Exec(ctx)
		if err := appended.Err(); err != nil {
			t.Errorf("Append on shard %d: %v", shard, err)
		}
		if n := p.committed(t, key); n != 6 {
			t.Errorf("shard %d: %d committed, want 6", shard, n)
		}
	}
	if len(nodes) != 3 {
		t.Errorf("the shards are on %d of 3 nodes", len(nodes))
	}
}

// keyOf is a key of a shard.
func keyOf(t testing.TB, shard, shards int) string {
	t.Helper()
	for i := range 10_000 {
		if key := fmt.Sprint(i); outbox.Shard(key, shards) == shard {
			return key
		}
	}
	t.Fatal("no key of the shard")
	return ""
}

// TestClusterRefusesOtherSlots: go-redis itself splits or refuses such transactions, depending on
// its version and on what it knows about a command. Here nothing is sent.
func TestClusterRefusesOtherSlots(t *testing.T) {
	p := newClusterEnv(t)
	ctx := integration.Context(t, time.Minute)
	w := p.writer(t, outbox.Config{})
	in, out := p.state("42"), "elsewhere"
	for name, c := range map[string]struct {
		queue func(redis.Pipeliner)
		watch []string
	}{
		"single key":   {func(q redis.Pipeliner) { q.Set(ctx, out, 1, 0) }, nil},
		"last of many": {func(q redis.Pipeliner) { q.MSet(ctx, in, 1, out, 2) }, nil},
		"last of DEL":  {func(q redis.Pipeliner) { q.Del(ctx, in, out) }, nil},
		"rename":       {func(q redis.Pipeliner) { q.Rename(ctx, in, out) }, nil},
		"script": {func(q redis.Pipeliner) {
			q.Eval(ctx, "return redis.call('set', KEYS[2], 1)", []string{in, out})
		}, nil},
		"store": {func(q redis.Pipeliner) {
			q.ZUnionStore(ctx, out, &redis.ZStore{Keys: []string{in}})
		}, nil},
		"second command": {func(q redis.Pipeliner) { q.Incr(ctx, in); q.Incr(ctx, out) }, nil},
		"watched":        {func(q redis.Pipeliner) { q.Incr(ctx, in) }, []string{in, out}},
	} {
		var slot *outbox.SlotError
		_, err := w.Tx(ctx, "42", func(tx *outbox.Tx) error {
			c.queue(tx.Queue())
			return tx.Append(event("42"))
		}, outbox.WithWatch(c.watch...))
		if !errors.As(err, &slot) || slot.Key != out || slot.Stream != p.stream("42") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if want, err := p.admin.ClusterKeySlot(ctx, out).Result(); err != nil || int(want) != slot.Slot {
			t.Errorf("%s: slot %d, the server says %d, %v", name, slot.Slot, want, err)
		}
		pipe := p.client.TxPipeline()
		c.queue(pipe)
		if _, err := w.Append(ctx, pipe, event("42")); c.watch == nil && !errors.As(err, &slot) {
			t.Errorf("%s: Append: %v", name, err)
		}
	}
	if n, err := p.admin.Exists(ctx, out).Result(); err != nil || n != 0 {
		t.Errorf("%s exists: %v", out, err)
	}
	if n := p.committed(t, "42"); n != 0 {
		t.Errorf("%d committed", n)
	}

	// A command without keys belongs everywhere.
	if _, err := w.Tx(ctx, "42", func(tx *outbox.Tx) error {
		tx.Queue().Do(ctx, "time")
		return p.count(ctx, "42")(tx)
	}); err != nil {
		t.Error(err)
	}
}

// TestClusterMovesTheSlot moves the shard's slot from node to node while it is written to. Nothing
// is lost, nothing is written twice, whatever the transactions answered.
func TestClusterMovesTheSlot(t *testing.T) {
	p := newClusterEnv(t)
	ctx := integration.Context(t, time.Minute)
	w := p.writer(t, outbox.Config{Attempts: 20})

	stop, moved := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(stop)
		moved <- moveAround(ctx, p)
	}()
	var mu sync.Mutex
	ok, unknown, refused := 0, 0, 0
	var wg sync.WaitGroup
	for n, always := range [][]outbox.TxOption{nil, {outbox.WithWatch(p.state("42"))}} {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				opts := always
				if n == 1 && i%2 == 1 {
					opts = append(slices.Clone(always), outbox.WithIdempotencyKey(fmt.Sprint(i)))
				}
				_, err := w.Tx(ctx, "42", p.count(ctx, "42"), opts...)
				mu.Lock()
				switch {
				case err == nil:
					ok++
				case outbox.OutcomeOf(err) == outbox.Unknown:
					unknown++
				case errors.Is(err, outbox.ErrFailingOver), errors.Is(err, outbox.ErrConflict),
					errors.Is(err, outbox.ErrUnreachable):
					refused++
				default:
					t.Errorf("unexpected: %v", err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := <-moved; err != nil {
		t.Fatal(err)
	}
	n := p.committed(t, "42")
	t.Logf("%d committed: %d acknowledged, %d unknown, %d refused", n, ok, unknown, refused)
	if n < ok || n > ok+unknown || ok == 0 {
		t.Errorf("%d committed, %d acknowledged, %d unknown", n, ok, unknown)
	}
}

// moveAround moves the slot of key 42 over all nodes, three times around.
func moveAround(ctx context.Context, p *testEnv) error {
	admin := p.admin.(*redis.ClusterClient)
	slot, err := admin.ClusterKeySlot(ctx, p.stream("42")).Result()
	if err != nil {
		return err
	}
	var nodes []*redis.Client
	ids := map[*redis.Client]string{}
	var mu sync.Mutex
	err = admin.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
		id, err := c.ClusterMyID(ctx).Result()
		mu.Lock()
		defer mu.Unlock()
		nodes, ids[c] = append(nodes, c), id
		return err
	})
	if err != nil {
		return err
	}
	owner, err := admin.MasterForKey(ctx, p.stream("42"))
	if err != nil {
		return err
	}
	at := 0
	for i, n := range nodes {
		if n.Options().Addr == owner.Options().Addr {
			at = i
		}
	}
	for range 9 {
		from, to := nodes[at%3], nodes[(at+1)%3]
		at++
		if err := moveSlot(ctx, int(slot), from, to, ids[from], ids[to], nodes); err != nil {
			return err
		}
		time.Sleep(30 * time.Millisecond) // for some transactions at the new place
	}
	return nil
}

func moveSlot(ctx context.Context, slot int, from, to *redis.Client, fromID, toID string,
	nodes []*redis.Client,
) error {
	if err := to.Do(ctx, "cluster", "setslot", slot, "importing", fromID).Err(); err != nil {
		return fmt.Errorf("importing: %w", err)
	}
	if err := from.Do(ctx, "cluster", "setslot", slot, "migrating", toID).Err(); err != nil {
		return fmt.Errorf("migrating: %w", err)
	}
	host, port, _ := strings.Cut(to.Options().Addr, ":")
	for {
		keys, err := from.ClusterGetKeysInSlot(ctx, slot, 10).Result()
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			break
		}
		for _, key := range keys {
			time.Sleep(3 * time.Millisecond) // so that some transactions meet a slot in pieces
			if err := from.Migrate(ctx, host, port, key, 0, 5*time.Second).Err(); err != nil {
				return fmt.Errorf("migrate %s: %w", key, err)
			}
		}
	}
	for _, n := range append([]*redis.Client{to, from}, nodes...) {
		if err := n.Do(ctx, "cluster", "setslot", slot, "node", toID).Err(); err != nil {
			return fmt.Errorf("node: %w", err)
		}
	}
	return nil
}
