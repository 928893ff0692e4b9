package outbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// reply is a server's error reply.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

func TestKindOfReplies(t *testing.T) {
	for want, texts := range map[error][]string{
		ErrOutOfMemory: {
			"OOM command not allowed when used memory > 'maxmemory'.",
			"EXECABORT Transaction discarded because of: OOM command not allowed",
		},
		ErrReadOnly: {"READONLY You can't write against a read only replica."},
		ErrFailingOver: {
			"LOADING Redis is loading the dataset in memory",
			"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
			"CLUSTERDOWN The cluster is down",
			"TRYAGAIN Multiple keys request during rehashing of slot",
			"MOVED 3999 127.0.0.1:6381",
			"ASK 3999 127.0.0.1:6381",
			"UNBLOCKED force unblock from blocking operation, instance state changed",
			"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
			"ERR max number of clients reached",
		},
		ErrNotPersisting:  {"MISCONF Redis is configured to save RDB snapshots, but it's unable to"},
		ErrTooFewReplicas: {"NOREPLICAS Not enough good replicas to write."},
		ErrDenied: {
			"NOPERM this user has no permissions to run the 'xadd' command",
			"NOAUTH Authentication required.",
			"WRONGPASS invalid username-password pair or user is disabled.",
		},
		ErrWrongType: {"WRONGTYPE Operation against a key holding the wrong kind of value"},
		nil: {
			"EXECABORT Transaction discarded because of previous errors.",
			"ERR syntax error",
			"OOMPH",
		},
	} {
		for _, text := range texts {
			if got := kindOf(fmt.Errorf("wrapped: %w", reply(text))); !errors.Is(got, want) {
				t.Errorf("%q: %v, want %v", text, got, want)
			}
		}
	}
	if kindOf(io.EOF) != nil || kindOf(errors.New("OOM but not a reply")) != nil {
		t.Error("only replies have kinds")
	}
}

func TestEveryKindHasAdvice(t *testing.T) {
	for _, r := range replies {
		e := &ServerError{Kind: r.kind, Reply: reply(r.prefix + "x")}
		if advice[r.kind] == "" || !strings.Contains(e.Error(), advice[r.kind]) {
			t.Errorf("%v has no advice", r.kind)
		}
		if !errors.Is(e, r.kind) || !errors.Is(e, e.Reply) {
			t.Errorf("%v is not in the chain", r.kind)
		}
	}
}

// command is a queued command with the error that EXEC left on it.
func command(err error, args ...any) *redis.StringCmd {
	c := redis.NewStringCmd(context.Background(), args...)
	if c.SetErr(err); err == nil {
		c.SetVal("1-1")
	}
	return c
}

// TestSettle has every way in which go-redis shows the end of a transaction.
func TestSettle(t *testing.T) {
	oom := reply("OOM command not allowed")
	abort := reply("EXECABORT Transaction discarded because of previous errors.")
	wrong := reply("WRONGTYPE Operation against a key holding the wrong kind of value")
	moved := reply("MOVED 1 a:1")
	dial := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	write := &net.OpError{Op: "write", Err: errors.New("broken pipe")}
	read := &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
	for name, c := range map[string]struct {
		exec       error
		state, add error
		want       Outcome
		kind       error
	}{
		"success":                  {nil, nil, nil, Committed, nil},
		"a nil reply is a success": {redis.Nil, redis.Nil, nil, Committed, nil},
		"lock lost": {
			redis.TxFailedErr, redis.TxFailedErr, redis.TxFailedErr,
			NotCommitted, redis.TxFailedErr,
		},
		"refused while queueing":        {abort, oom, abort, NotCommitted, ErrOutOfMemory},
		"refused, as a cluster says it": {oom, abort, oom, NotCommitted, ErrOutOfMemory},
		"refused for the state's sake":  {abort, reply("NOPERM x"), abort, NotCommitted, ErrDenied},
		"refused for unknown reasons":   {abort, abort, abort, NotCommitted, abort},
		"refused at MULTI": {
			reply("LOADING x"), reply("LOADING x"), reply("LOADING x"),
			NotCommitted, ErrFailingOver,
		},
		"refused at EXEC":              {moved, moved, moved, NotCommitted, ErrFailingOver},
		"refused while connecting":     {reply("WRONGPASS x"), nil, nil, NotCommitted, ErrDenied},
		"event failed":                 {wrong, nil, wrong, Committed, ErrWrongType},
		"event failed, state had none": {redis.Nil, redis.Nil, wrong, Committed, ErrWrongType},
		"state failed":                 {wrong, wrong, nil, Committed, wrong},
		"both failed":                  {wrong, wrong, wrong, Committed, ErrWrongType},
		"no connection":                {dial, dial, dial, NotCommitted, ErrUnreachable},
		"no connection free": {
			redis.ErrPoolTimeout, redis.ErrPoolTimeout,
			redis.ErrPoolTimeout, NotCommitted, ErrUnreachable,
		},
		"not sent":                  {write, write, write, NotCommitted, ErrUnreachable},
		"written at the second try": {write, nil, nil, Committed, nil},
		"reply late":                {read, read, read, Unknown, ErrUnknownOutcome},
		"reply lost":                {io.EOF, io.EOF, io.EOF, Unknown, io.EOF},
		"reply lost half-way":       {io.EOF, nil, io.EOF, Unknown, ErrUnknownOutcome},
		"given up": {
			context.Canceled, context.Canceled, context.Canceled, Unknown,
			context.Canceled,
		},
	} {
		state, add := command(c.state, "incr", "k"), command(c.add, "xadd", "s", "*")
		err := settle(c.exec, []redis.Cmder{state, add}, []*redis.StringCmd{add})
		if got := OutcomeOf(err); got != c.want {
			t.Errorf("%s: %v, want %v (%v)", name, got, c.want, err)
		}
		if (c.kind == nil) != (err == nil) || c.kind != nil && !errors.Is(err, c.kind) {
			t.Errorf("%s: %v, want %v", name, err, c.kind)
		}
		var partial *PartialError
		if errors.As(err, &partial) {
			if (partial.Missing == 1) != (c.add != nil) || len(partial.Appended) != 1-partial.Missing {
				t.Errorf("%s: %+v", name, partial)
			}
		}
	}
}

func TestPartialErrorNamesCommandsNotValues(t *testing.T) {
	secret := command(reply("ERR value is not an integer"), "set", "key", "secret")
	err := settle(secret.Err(), []redis.Cmder{secret, command(nil, "xadd", "s", "*")}, nil)
	if text := err.Error(); strings.Contains(text, "secret") || !strings.Contains(text, "set key") {
		t.Error(text)
	}
	var failed CommandError
	if !errors.As(err, &failed) || failed.Command != "set key" || !errors.Is(failed, secret.Err()) {
		t.Errorf("the failed command is %+v", failed)
	}
}

func TestOutcomeNames(t *testing.T) {
	for o, want := range map[Outcome]string{
		NotCommitted: "not committed", Committed: "committed",
		Unknown: "unknown",
	} {
		if o.String() != want {
			t.Errorf("%d is %q", o, o)
		}
	}
	if OutcomeOf(fmt.Errorf("x: %w", &WaitError{})) != Committed {
		t.Error("a WaitError comes after the commit")
	}
}
