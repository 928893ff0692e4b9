package demo

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// gate is the network of one relay: every connection that it opens goes through. A frozen gate lets
// nothing pass in either direction, and drops nothing: what waits passes when it thaws, as it would
// for a process that was stopped and continued. A cut gate lets nothing pass ever again, as after
// the death of the machine: the relay gets errors, the servers get silence, and see the connections
// close only after linger.
type gate struct {
	mu    sync.Mutex
	conns map[*gatedConn]struct{}
	open  chan struct{} // closed while the gate is open
	dead  bool
}

var errCut = errors.New("demo: this relay was killed")

func newGate() *gate {
	g := &gate{conns: map[*gatedConn]struct{}{}, open: make(chan struct{})}
	close(g.open)
	return g
}

// dial is a dialer for clients of Redis and Kafka.
func (g *gate) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if err := g.wait(ctx.Done()); err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := &gatedConn{Conn: conn, gate: g, closed: make(chan struct{})}
	c.read.init()
	c.write.init()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dead {
		return nil, errors.Join(errCut, conn.Close())
	}
	g.conns[c] = struct{}{}
	return c, nil
}

func (g *gate) freeze() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
		if !g.dead {
			g.open = make(chan struct{})
		}
	default:
	}
}

func (g *gate) thaw() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
	default:
		close(g.open)
	}
}

// linger is how long the servers' ends of cut connections stay open. kfake never expires the member
// of a group whose connection breaks while it waits for the others to join; one that falls silent
// it does.
const linger = 3 * sessionTimeout

// cut ends every connection; new ones are refused.
func (g *gate) cut() {
	g.mu.Lock()
	g.dead = true
	conns := g.conns
	g.conns = nil
	g.mu.Unlock()
	for c := range conns {
		c.abandon()
	}
	g.thaw()
}

// wait returns when the gate is open, or with an error when it was cut or one of the channels says
// so first.
func (g *gate) wait(giveUp ...<-chan struct{}) error {
	g.mu.Lock()
	open, dead := g.open, g.dead
	g.mu.Unlock()
	if dead {
		return errCut
	}
	var first, second <-chan struct{}
	if len(giveUp) > 0 {
		first = giveUp[0]
	}
	if len(giveUp) > 1 {
		second = giveUp[1]
	}
	select {
	case <-open: // first, because an open gate is the usual case and all may be ready
		return nil
	default:
	}
	select {
	case <-open:
		return nil
	case <-first:
		return os.ErrDeadlineExceeded
	case <-second:
		return net.ErrClosed
	}
}

// gatedConn is one connection through a gate. Deadlines go on while the gate is frozen, as a client
// expects of a network that is silent.
type gatedConn struct {
	net.Conn
	gate   *gate
	closed chan struct{}
	read   deadline
	write  deadline

	mu   sync.Mutex
	done bool // closed or abandoned
}

// Read holds back what arrived while the gate was frozen.
func (c *gatedConn) Read(b []byte) (int, error) {
	if err := c.gate.wait(c.read.passed(), c.closed); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(b)
	if err != nil {
		return n, c.reason(err)
	}
	// Bytes that were read are not lost: a frozen reader gets them after the thaw, whatever its
	// deadline says meanwhile.
	if err := c.gate.wait(nil, c.closed); err != nil {
		return 0, err
	}
	return n, nil
}

func (c *gatedConn) Write(b []byte) (int, error) {
	if err := c.gate.wait(c.write.passed(), c.closed); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(b)
	return n, c.reason(err)
}

// reason is what an error means for the client: that of an abandoned connection is only how it was
// woken.
func (c *gatedConn) reason(err error) error {
	select {
	case <-c.closed:
		if err != nil {
			return net.ErrClosed
		}
	default:
	}
	return err
}

func (c *gatedConn) Close() error {
	if !c.finish() {
		return net.ErrClosed
	}
	c.gate.mu.Lock()
	delete(c.gate.conns, c)
	c.gate.mu.Unlock()
	return c.Conn.Close()
}

// abandon closes the connection for the client at once and for the server later.
func (c *gatedConn) abandon() {
	if !c.finish() {
		return
	}
	_ = c.Conn.SetDeadline(time.Unix(1, 0)) // wakes who reads or writes
	time.AfterFunc(linger, func() { _ = c.Conn.Close() })
}

// finish is true the first time.
func (c *gatedConn) finish() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return false
	}
	c.done = true
	close(c.closed)
	return true
}

func (c *gatedConn) SetDeadline(t time.Time) error {
	return c.set(t, c.Conn.SetDeadline, &c.read, &c.write)
}

func (c *gatedConn) SetReadDeadline(t time.Time) error {
	return c.set(t, c.Conn.SetReadDeadline, &c.read)
}

func (c *gatedConn) SetWriteDeadline(t time.Time) error {
	return c.set(t, c.Conn.SetWriteDeadline, &c.write)
}

func (c *gatedConn) set(t time.Time, conn func(time.Time) error, ours ...*deadline) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return net.ErrClosed
	}
	for _, d := range ours {
		d.set(t)
	}
	return conn(t)
}
