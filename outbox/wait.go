package outbox

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Wait says which servers must hold a transaction before Tx returns. The zero value waits for
// nothing.
//
// Waiting makes the loss of a committed transaction less likely and does not exclude it: a failover
// can still promote a replica that does not have it. It begins after the commit. A repetition with
// an idempotency key that finds its transaction committed (AlreadyAppended) does not wait again.
type Wait struct {
	// Replicas is how many replicas must have acknowledged it.
	Replicas int

	// Disk asks for more than memory: the server must have written and synced it to its append-only
	// file, and Replicas count only when they have as well. It needs WAITAOF, so Redis 7.2 or Valkey,
	// and "appendonly yes".
	Disk bool

	// Timeout is how long to wait, then the error is a *WaitError. Default 1 s, at least 1 ms.
	Timeout time.Duration
}

// WaitError says that a transaction is committed and that what Wait asked for was not confirmed:
// too few replicas or disks had it in time, or the question failed. Do not repeat the transaction:
// it happened.
type WaitError struct {
	Wait     Wait
	Replicas int   // how many replicas confirmed
	Disk     bool  // whether the server's own disk has it
	Err      error // why the question failed; nil if it was answered
}

func (e *WaitError) Error() string {
	const committed = "the transaction is committed, but not confirmed as asked: "
	if e.Err != nil {
		return committed + e.Err.Error()
	}
	if e.Wait.Disk {
		return fmt.Sprintf("%safter %v on this server's disk: %t, on those of %d replica(s), want %d",
			committed, e.Wait.Timeout, e.Disk, e.Replicas, e.Wait.Replicas)
	}
	return fmt.Sprintf("%safter %v %d replica(s) have it, want %d", committed, e.Wait.Timeout,
		e.Replicas, e.Wait.Replicas)
}

func (e *WaitError) Unwrap() error { return e.Err }

func (wt Wait) withDefaults() (Wait, error) {
	if wt.Replicas < 0 || wt.Timeout < 0 {
		return wt, fmt.Errorf("wait: Replicas is %d and Timeout %v, want neither negative", wt.Replicas,
			wt.Timeout)
	}
	if wt.Timeout == 0 {
		wt.Timeout = time.Second
	}
	if wt.Timeout < time.Millisecond {
		wt.Timeout = time.Millisecond // 0 would wait for ever
	}
	return wt, nil
}

// waiter is a connection, *redis.Tx or *redis.Conn. Clients have these methods too, and are of no
// use here: their connections change.
type waiter interface {
	Wait(ctx context.Context, replicas int, timeout time.Duration) *redis.IntCmd
	WaitAOF(ctx context.Context, local, replicas int, timeout time.Duration) *redis.IntSliceCmd
}

func (wt Wait) needed() bool { return wt.Replicas > 0 || wt.Disk }

// Confirm waits on a connection for what that connection has written so far. Tx does it by itself;
// it is exported for transactions that the caller executes, and must be called on the connection
// that executed them: a *redis.Tx inside Client.Watch, or a *redis.Conn. The error is a *WaitError.
func (wt Wait) Confirm(ctx context.Context, conn waiter) error {
	wt, err := wt.withDefaults()
	switch {
	case err != nil:
		return &WaitError{Wait: wt, Err: err}
	case !wt.needed():
		return nil
	case wt.Disk:
		return wt.confirmDisk(ctx, conn)
	}
	n, err := conn.Wait(ctx, wt.Replicas, wt.Timeout).Result()
	if err != nil {
		return &WaitError{Wait: wt, Err: err}
	}
	if int(n) < wt.Replicas {
		return &WaitError{Wait: wt, Replicas: int(n)}
	}
	return nil
}

func (wt Wait) confirmDisk(ctx context.Context, conn waiter) error {
	got, err := conn.WaitAOF(ctx, 1, wt.Replicas, wt.Timeout).Result()
	if err != nil {
		if isReply(err) && strings.HasPrefix(strings.ToLower(err.Error()), "err unknown command") {
			err = fmt.Errorf(
				"the server does not know WAITAOF, which Wait.Disk needs and which came with Redis 7.2: %w",
				err)
		}
		return &WaitError{Wait: wt, Err: err}
	}
	if len(got) != 2 {
		return &WaitError{Wait: wt, Err: fmt.Errorf("WAITAOF: unexpected reply %v", got)}
	}
	if got[0] < 1 || int(got[1]) < wt.Replicas {
		return &WaitError{Wait: wt, Disk: got[0] > 0, Replicas: int(got[1])}
	}
	return nil
}
