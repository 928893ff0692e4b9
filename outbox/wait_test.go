//go:build integration

package outbox_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/outbox"
)

// withReplica is a server with one replica that is in step.
func withReplica(t *testing.T) (primary, replica *servers.Redis) {
	t.Helper()
	ctx := integration.Context(t, 30*time.Second)
	primary, replica = startRedis(t), startRedis(t)
	host, port, err := net.SplitHostPort(primary.Addr)
	if err != nil {
		t.Fatal(err)
	}
	client := integration.RedisClient(t, replica, nil)
	if err := client.Do(ctx, "replicaof", host, port).Err(); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(client.Info(ctx, "replication").Val(), "master_link_status:up") {
		if ctx.Err() != nil {
			t.Fatal("the replica does not connect")
		}
		time.Sleep(10 * time.Millisecond)
	}
	return primary, replica
}

func TestWaitForReplicas(t *testing.T) {
	primary, replica := withReplica(t)
	ctx := integration.Context(t, time.Minute)
	p := newTestEnv(t, primary, 1, nil)
	w := p.writer(t, outbox.Config{Wait: outbox.Wait{Replicas: 1, Timeout: 5 * time.Second}})
	onReplica := integration.RedisClient(t, replica, nil)

	for n := int64(1); n <= 20; n++ {
		if _, err := w.Tx(ctx, "42", p.count(ctx, "42")); err != nil {
			t.Fatal(err)
		}
		if got, err := onReplica.XLen(ctx, p.stream("42")).Result(); err != nil || got != n {
			t.Fatalf("the replica has %d entries, want %d; %v", got, n, err)
		}
	}

	// More than there are, for this transaction.
	_, err := w.Tx(ctx, "42", p.count(ctx, "42"),
		outbox.WithWatch("w"), outbox.WithWait(outbox.Wait{Replicas: 2, Timeout: 50 * time.Millisecond}))
	var wait *outbox.WaitError
	if !errors.As(err, &wait) || wait.Replicas != 1 || outbox.OutcomeOf(err) != outbox.Committed {
		t.Errorf("got %v", err)
	}
	if n := p.committed(t, "42"); n != 21 {
		t.Errorf("committed %d times", n)
	}

	// The replica stops answering.
	if err := replica.Stop(); err != nil {
		t.Fatal(err)
	}
	res, err := w.Tx(ctx, "42", p.count(ctx, "42"),
		outbox.WithWait(outbox.Wait{Replicas: 1, Timeout: 50 * time.Millisecond}))
	if !errors.As(err, &wait) || wait.Replicas != 0 || len(res.Entries) != 1 {
		t.Errorf("got %+v, %v", res, err)
	}
	if err := replica.Cont(); err != nil {
		t.Fatal(err)
	}
}

func TestWaitOfTheCallersTransaction(t *testing.T) {
	primary, _ := withReplica(t)
	ctx := integration.Context(t, time.Minute)
	p := newTestEnv(t, primary, 1, nil)
	w := p.writer(t, outbox.Config{})
	for replicas, ok := range map[int]bool{0: true, 1: true, 2: false} {
		err := p.client.Watch(ctx, func(conn *redis.Tx) error {
			pipe := conn.TxPipeline()
			appended, err := w.Append(ctx, pipe, event("42"))
			if err != nil {
				return err
			}
			_, _ = pipe.Exec(ctx)
			if err := appended.Err(); err != nil {
				return err
			}
			return outbox.Wait{Replicas: replicas, Timeout: 200 * time.Millisecond}.Confirm(ctx, conn)
		}, "w")
		if (err == nil) != ok {
			t.Errorf("%d replicas: %v", replicas, err)
		}
	}
}

// TestWaitForDisk: WAITAOF came with Redis 7.2; older servers are told from newer ones by their
// error.
func TestWaitForDisk(t *testing.T) {
	r := startRedis(t)
	ctx := integration.Context(t, time.Minute)
	p := newTestEnv(t, r, 1, nil)
	w := p.writer(t, outbox.Config{Wait: outbox.Wait{Disk: true, Timeout: 5 * time.Second}})
	res, err := w.Tx(ctx, "42", p.count(ctx, "42"))
	if outbox.OutcomeOf(err) != outbox.Committed || len(res.Entries) != 1 ||
		p.committed(t, "42") != 1 {
		t.Errorf("%+v, %v", res, err)
	}
	var wait *outbox.WaitError
	if knows(ctx, t, p.admin, "waitaof") {
		if err != nil {
			t.Error(err)
		}
		_, err = w.Tx(ctx, "42", p.count(ctx, "42"),
			outbox.WithWait(outbox.Wait{Disk: true, Replicas: 1, Timeout: 50 * time.Millisecond}))
		if !errors.As(err, &wait) || wait.Replicas != 0 {
			t.Errorf("a replica that is not there: %v", err)
		}
	} else if !errors.As(err, &wait) || !strings.Contains(err.Error(), "Redis 7.2") {
		t.Errorf("got %v", err)
	}
}

func knows(ctx context.Context, t *testing.T, c redis.Cmdable, command string) bool {
	t.Helper()
	infos, err := c.Command(ctx).Result()
	if err != nil {
		t.Fatal(err)
	}
	return infos[command] != nil
}
