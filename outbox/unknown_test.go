package outbox_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/outbox"
)

// network is a hook that answers transactions and WATCH in the server's place, as long as it has
// something to say.
type network struct {
	exec  []func(cmds []redis.Cmder) error
	watch []error // nil lets it pass
}

func (*network) DialHook(next redis.DialHook) redis.DialHook { return next }

func (n *network) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "watch" && len(n.watch) > 0 {
			err := n.watch[0]
			if n.watch = n.watch[1:]; err != nil {
				cmd.SetErr(err)
				return err
			}
		}
		return next(ctx, cmd)
	}
}

func (n *network) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() != "multi" || len(n.exec) == 0 {
			return next(ctx, cmds)
		}
		answer := n.exec[0]
		n.exec = n.exec[1:]
		return answer(cmds)
	}
}

// fail leaves an error on every command, and returns another one.
func fail(onCommands, returned error) func([]redis.Cmder) error {
	return func(cmds []redis.Cmder) error {
		for _, c := range cmds {
			c.SetErr(onCommands)
		}
		return returned
	}
}

var (
	errBrokenPipe = &net.OpError{Op: "write", Err: errors.New("broken pipe")}
	errRefused    = &net.OpError{Op: "dial", Err: errors.New("connection refused")}
)

// TestLostReplyIsNotForgotten: after a lost reply, a repetition that fails for another reason says
// nothing about the first attempt.
func TestLostReplyIsNotForgotten(t *testing.T) {
	for name, c := range map[string]struct {
		key     string // idempotency key
		network network
		fn      error // of the second run
		want    outbox.Outcome
	}{
		"no key": {
			"",
			network{exec: []func([]redis.Cmder) error{fail(io.EOF, io.EOF)}},
			nil, outbox.Unknown,
		},
		"repeated": {
			"r",
			network{exec: []func([]redis.Cmder) error{fail(io.EOF, io.EOF)}},
			nil, outbox.Committed,
		},
		"unreachable once": {"r", network{
			exec:  []func([]redis.Cmder) error{fail(io.EOF, io.EOF)},
			watch: []error{nil, errRefused},
		}, nil, outbox.Committed},
		"unreachable": {"r", network{
			exec:  []func([]redis.Cmder) error{fail(io.EOF, io.EOF)},
			watch: []error{nil, errRefused, errRefused, errRefused, errRefused},
		}, nil, outbox.Unknown},
		"the function fails": {
			"r",
			network{exec: []func([]redis.Cmder) error{fail(io.EOF, io.EOF)}},
			errors.New("mine"), outbox.Unknown,
		},
		"not sent at all": {"r", network{watch: []error{errRefused}}, nil, outbox.NotCommitted},
		"written, then lost": {
			"",
			network{exec: []func([]redis.Cmder) error{fail(errBrokenPipe, io.EOF)}},
			nil, outbox.Unknown,
		},
		"written, then silent": {
			"",
			network{exec: []func([]redis.Cmder) error{fail(errBrokenPipe, errBrokenPipe)}},
			nil,
			outbox.NotCommitted,
		},
	} {
		m := newMemory(t, 1, outbox.Config{})
		m.client.AddHook(&c.network)
		var opts []outbox.TxOption
		if c.key != "" {
			opts = append(opts, outbox.WithIdempotencyKey(c.key))
		}
		_, err := m.writer.Tx(t.Context(), "42", func(tx *outbox.Tx) error {
			if tx.Attempt() > 1 && c.fn != nil {
				return c.fn
			}
			return tx.Append(event("42"))
		}, opts...)
		if got := outbox.OutcomeOf(err); got != c.want {
			t.Errorf("%s: %v, want %v: %v", name, got, c.want, err)
		}
		if c.fn != nil && !errors.Is(err, c.fn) {
			t.Errorf("%s: the function's error is lost: %v", name, err)
		}
	}
}

// TestAppendDoesNotTrustAFailedWrite: go-redis leaves the error of a failed write on the commands
// when it sends them again, and the second time the reply may be lost.
func TestAppendDoesNotTrustAFailedWrite(t *testing.T) {
	for name, c := range map[string]struct {
		onCommands error
		want       outbox.Outcome
	}{
		"failed write":  {errBrokenPipe, outbox.Unknown},
		"no connection": {errRefused, outbox.NotCommitted},
	} {
		ctx := t.Context()
		m := newMemory(t, 1, outbox.Config{})
		m.client.AddHook(&network{exec: []func([]redis.Cmder) error{fail(c.onCommands, io.EOF)}})
		pipe := m.client.TxPipeline()
		appended, err := m.writer.Append(ctx, pipe, event("42"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = pipe.Exec(ctx)
		if got := outbox.OutcomeOf(appended.Err()); got != c.want {
			t.Errorf("%s: %v, want %v: %v", name, got, c.want, appended.Err())
		}
	}
}
