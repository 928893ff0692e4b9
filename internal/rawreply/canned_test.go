package rawreply

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// canned is a connection on which a server answers each command with the next reply, whatever is
// asked.
type canned struct {
	net.Conn // nothing else is called
	next     func() []byte
	slowly   func(io.Reader) io.Reader // how a reply arrives; nil: at once
	reply    io.Reader
}

func (c *canned) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("\r\nhello\r\n")) {
		c.reply = strings.NewReader("-ERR unknown command\r\n")
	} else {
		c.reply = bytes.NewReader(c.next())
	}
	if c.slowly != nil {
		c.reply = c.slowly(c.reply)
	}
	return len(p), nil
}

func (c *canned) Read(p []byte) (int, error)       { return c.reply.Read(p) }
func (c *canned) Close() error                     { return nil }
func (c *canned) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *canned) SetDeadline(time.Time) error      { return nil }
func (c *canned) SetReadDeadline(time.Time) error  { return nil }
func (c *canned) SetWriteDeadline(time.Time) error { return nil }

// cannedClient has one connection at a time; dials counts them.
func cannedClient(slowly func(io.Reader) io.Reader,
	next func() []byte,
) (c *redis.Client, dials *int) {
	dials = new(int)
	c = redis.NewClient(&redis.Options{
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			*dials++
			return &canned{next: next, slowly: slowly}, nil
		},
		Protocol: 2, PoolSize: 1, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	return c, dials
}

// inTurn gives one reply after the other.
func inTurn(replies ...string) func() []byte {
	return func() (next []byte) {
		next, replies = []byte(replies[0]), replies[1:]
		return next
	}
}

const limit = 8 << 20

// bulks is an array of bulk strings.
func bulks(texts ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(texts))
	for _, s := range texts {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(s), s)
	}
	return b.String()
}

// entries is a reply to XRANGE with entries of the given fields.
func entries(fields ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(fields))
	for i, f := range fields {
		id := fmt.Sprintf("5-%d", i)
		fmt.Fprintf(&b, "*2\r\n$%d\r\n%s\r\n%s", len(id), id, f)
	}
	return b.String()
}

// event is the fields of an entry as applications write them.
func event() string {
	return bulks("v", "1", "id", "0190a6c1-7b2e-7c3d-8e4f-5a6b7c8d9e0f", "key", "customer-4711",
		"type", "order.created", "payload", strings.Repeat(`{"total":12.5}`, 20))
}
