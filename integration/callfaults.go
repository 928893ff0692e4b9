package integration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// FaultMode says which half of a call is lost.
type FaultMode int

const (
	// RequestLost closes the connection before the request is sent: the server never sees it.
	RequestLost FaultMode = iota
	// ReplyLost sends the request, waits until the server has answered it, and closes the connection
	// instead of handing the answer over: the server did it, the client cannot know.
	ReplyLost
)

func (m FaultMode) String() string {
	if m == ReplyLost {
		return "reply lost"
	}
	return "request lost"
}

// DialFunc is the dialer that go-redis and franz-go take.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// CallFaults counts the requests that a client sends over the connections of its Dial, and makes
// one of them fail. Requests and replies are told apart by their protocol; a test that loses the
// N-th EXEC loses that one, whatever else is on the connection. It does not work inside TLS.
//
// The loss of a call is the loss of its connection: what was sent on it before stays done, and
// calls that were under way after it fail as well, as they would with a real network.
type CallFaults struct {
	// Next makes the connections; nil means a plain [net.Dialer]. Set it before the first dial.
	Next DialFunc

	protocol protocol
	names    []string // empty means every request

	mu    sync.Mutex
	calls int // matching calls since Fail
	at    int // the call that fails; 0 for none
	mode  FaultMode
	fired bool
}

// KafkaFaults counts requests with one of these keys; without keys, all requests.
func KafkaFaults(keys ...kmsg.Key) *CallFaults {
	f := &CallFaults{protocol: kafkaProtocol}
	for _, k := range keys {
		f.names = append(f.names, k.Name())
	}
	return f
}

// RedisFaults counts commands with one of these names, such as "EXEC"; without names, all commands.
// Each command of a pipeline counts.
func RedisFaults(commands ...string) *CallFaults {
	f := &CallFaults{protocol: redisProtocol}
	for _, c := range commands {
		f.names = append(f.names, strings.ToUpper(c))
	}
	return f
}

// Fail makes the n-th matching call from now on fail, counted from 1 over all connections, once. 0
// takes a failure back that has not happened. It sets Calls to 0 and Fired to false.
func (f *CallFaults) Fail(n int, mode FaultMode) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls, f.at, f.mode, f.fired = 0, n, mode, false
}

// Calls is how many matching calls were made since Fail, or since the beginning.
func (f *CallFaults) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// Fired reports whether the failure that Fail asked for has happened.
func (f *CallFaults) Fired() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fired
}

// EachCall runs run again and again, with call 1, 2, 3 … failing, until a run ends before its call
// came: then every call of the run has failed once. It returns how many did. More than limit runs
// are an error, for a run that never comes to an end of its calls.
func (f *CallFaults) EachCall(mode FaultMode, limit int, run func(n int) error) (int, error) {
	for n := 1; n <= limit; n++ {
		f.Fail(n, mode)
		if err := run(n); err != nil {
			return n - 1, fmt.Errorf("call %d, %s: %w", n, mode, err)
		}
		if !f.Fired() {
			f.Fail(0, mode)
			return n - 1, nil
		}
	}
	return limit, errors.New("there were still calls to fail when the limit was reached")
}

// Dial connects to addr; it fits kgo.Dialer and the Dialer of go-redis.
func (f *CallFaults) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	next := f.Next
	if next == nil {
		next = (&net.Dialer{}).DialContext
	}
	conn, err := next(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &faultConn{
		Conn: conn, faults: f, requests: f.protocol.requests(),
		replies: f.protocol.replies(),
	}, nil
}

// count takes note of a call and tells whether, and how, it fails.
func (f *CallFaults) count(name string) (FaultMode, bool) {
	if len(f.names) > 0 && !slices.Contains(f.names, name) {
		return 0, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.fired || f.calls != f.at {
		return 0, false
	}
	f.fired = true
	return f.mode, true
}
