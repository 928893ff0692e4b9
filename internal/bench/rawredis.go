package bench

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

// rawRedis is a connection on which replies are thrown away unseen. A client would cost more than
// what Redis does.
type rawRedis struct {
	conn  net.Conn
	buf   []byte
	close func()
}

// openRaw lets go-redis connect (TLS, password, database) and then takes the connection for itself.
func openRaw(ctx context.Context, options *redis.Options) (*rawRedis, error) {
	o := *options
	r := &rawRedis{buf: make([]byte, 256<<10)}
	dial := redis.NewDialer(&o)
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		r.conn = c
		return c, err
	}
	o.PoolSize, o.MinIdleConns, o.MaxRetries = 1, 0, -1
	client := redis.NewClient(&o)
	conn := client.Conn() // is in use until the end, so that nobody else is
	if err := conn.Ping(ctx).Err(); err != nil {
		_, _ = conn.Close(), client.Close()
		return nil, fmt.Errorf("redis: %w", err)
	}
	r.close = func() { _, _ = conn.Close(), client.Close() }
	return r, r.conn.SetDeadline(time.Time{})
}

// endMark is what Redis is asked to echo after each reply, to see where it ends. No entry ends in
// it.
const endMark = "\r\n$12\r\nsluice:bench\r\n"

// discard reads a reply and tells its size.
func (r *rawRedis) discard(command ...string) (size int, err error) {
	if _, err := r.conn.Write(append(encodeCommand(command),
		encodeCommand([]string{"ECHO", "sluice:bench"})...)); err != nil {
		return 0, err
	}
	kept := 0 // bytes of the read before, in which the mark may begin
	for {
		n, err := r.conn.Read(r.buf[kept:])
		if err != nil {
			return size, err
		}
		size += n
		seen := r.buf[:kept+n]
		if bytes.HasSuffix(seen, []byte(endMark)) {
			return size - len(endMark) + 2, nil
		}
		kept = copy(r.buf, seen[max(0, len(seen)-len(endMark)):])
	}
}

func encodeCommand(args []string) []byte {
	b := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, a := range args {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(a), a)
	}
	return b
}
