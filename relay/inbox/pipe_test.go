package inbox

import (
	"net"
	"sync"
)

// bufferedConn is a net.Pipe that takes what is written at once, as a socket does. Without it a
// long pipeline and the replies to its beginning would wait for each other.
type bufferedConn struct {
	net.Conn
	mu     sync.Mutex
	buf    []byte
	wake   chan struct{}
	closed chan struct{}
	once   sync.Once
}

func buffered(c net.Conn) net.Conn {
	b := &bufferedConn{Conn: c, wake: make(chan struct{}, 1), closed: make(chan struct{})}
	go b.flush()
	return b
}

func (b *bufferedConn) flush() {
	for {
		select {
		case <-b.closed:
			return
		case <-b.wake:
		}
		b.mu.Lock()
		out := b.buf
		b.buf = nil
		b.mu.Unlock()
		if _, err := b.Conn.Write(out); err != nil {
			b.Close()
			return
		}
	}
}

func (b *bufferedConn) Write(p []byte) (int, error) {
	select {
	case <-b.closed:
		return 0, net.ErrClosed
	default:
	}
	b.mu.Lock()
	b.buf = append(b.buf, p...)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (b *bufferedConn) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.Conn.Close()
}
