//go:build integration

package outbox_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/outbox"
)

// TestSentinelFailover writes through a failover. Every error is one of those that say so, what was
// acknowledged by a replica is there afterwards, once, and the writer goes on by itself.
func TestSentinelFailover(t *testing.T) {
	s, err := servers.StartSentinel(integration.Context(t, time.Minute), servers.SentinelOptions{})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, s)
	ctx := integration.Context(t, 2*time.Minute)
	client, admin := redis.NewFailoverClient(s.Options()), redis.NewFailoverClient(s.Options())
	integration.CloseAtEnd(t, client)
	integration.CloseAtEnd(t, admin)
	p := &testEnv{name: integration.Prefix(t), client: client, admin: admin, shards: 1}
	createLayout(t, admin, p.name, p.shards)
	w := p.writer(t, outbox.Config{Wait: outbox.Wait{Replicas: 1, Timeout: 500 * time.Millisecond}})

	var over atomic.Bool
	failed := make(chan error, 1)
	go func() {
		time.Sleep(100 * time.Millisecond) // some transactions before
		_, err := s.Failover(ctx)
		over.Store(true)
		failed <- err
	}()
	replicated := map[string]bool{} // event IDs
	after, errs := 0, 0
	for i := 0; after < 20; i++ {
		if ctx.Err() != nil {
			t.Fatal("the writer does not recover")
		}
		isOver := over.Load()
		id := fmt.Sprint("event ", i)
		_, err := w.Tx(ctx, "42", func(tx *outbox.Tx) error {
			e := event("42")
			e.ID = id
			return tx.Append(e)
		}, outbox.WithIdempotencyKey(id))
		var wait *outbox.WaitError
		switch {
		case err == nil:
			replicated[id] = true
			if isOver {
				after++
			}
			continue
		case errors.As(err, &wait), errors.Is(err, outbox.ErrReadOnly),
			errors.Is(err, outbox.ErrFailingOver),
			errors.Is(err, outbox.ErrUnreachable), errors.Is(err, outbox.ErrUnknownOutcome):
			errs++
		default:
			t.Errorf("unexpected: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	entries, err := admin.XRange(ctx, p.stream("42"), "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, e := range entries {
		seen[e.Values["id"].(string)]++
	}
	for id := range replicated {
		if seen[id] != 1 {
			t.Errorf("%s is there %d times", id, seen[id])
		}
	}
	for id, n := range seen {
		if n > 1 {
			t.Errorf("%s is there %d times", id, n)
		}
	}
	t.Logf("%d events acknowledged by a replica, %d errors meanwhile", len(replicated), errs)
}
