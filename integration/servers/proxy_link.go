package servers

import (
	"io"
	"net"
	"sync"
	"time"
)

// link is one client's connection through a [Proxy].
type link struct {
	proxy  *Proxy
	client net.Conn
	done   chan struct{} // closed when nothing is carried any more

	mu     sync.Mutex
	server net.Conn // nil until dialed
	lost   bool     // the server's side is gone, the client's side stays
	closed bool
}

func newLink(p *Proxy, client net.Conn) *link {
	return &link{proxy: p, client: client, done: make(chan struct{})}
}

// chunk is what one read gave, with the time at which it may go on.
type chunk struct {
	data []byte
	due  time.Time
}

// run returns when both directions have ended.
func (l *link) run() {
	server, ok := l.dial()
	if !ok {
		l.swallow()
		return
	}
	var wg sync.WaitGroup
	wg.Add(2)
	go func() {
		defer wg.Done()
		l.pump(server, l.client)
		l.end()
	}()
	go func() {
		defer wg.Done()
		l.pump(l.client, server)
		l.end()
	}()
	wg.Wait()
	if l.isLost() {
		l.swallow()
	}
}

// dial connects to the server. Without success the client sees its connection closed, unless the
// server has vanished: then ok is false and the link stays.
func (l *link) dial() (_ net.Conn, ok bool) {
	if l.proxy.isDeaf() {
		l.loseServer()
		return nil, false
	}
	server, err := net.DialTimeout("tcp", l.proxy.target, 5*time.Second)
	if err != nil {
		l.close(false)
		return nil, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.lost {
		_ = server.Close()
		return nil, false
	}
	l.server = server
	return server, true
}

// pump carries bytes from src to dst until one of them ends. Reading and writing are separate, so
// that latency delays bytes without limiting how many are on their way.
func (l *link) pump(dst, src net.Conn) {
	chunks := make(chan chunk, 64)
	go func() {
		defer close(chunks)
		for {
			buf := make([]byte, 16<<10)
			n, err := src.Read(buf)
			if n > 0 {
				_, latency, _, _ := l.proxy.pace()
				select {
				case chunks <- chunk{buf[:n], time.Now().Add(latency)}:
				case <-l.done:
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	for c := range chunks {
		if !l.hold(c) {
			break
		}
		if _, err := dst.Write(c.data); err != nil {
			break
		}
	}
	// The reader may wait in Read or for room in the channel; both end with the link.
	l.end()
	for range chunks {
	}
}

// hold waits until the chunk may go on. It is false when the link has ended.
func (l *link) hold(c chunk) bool {
	for {
		paused, _, bandwidth, changed := l.proxy.pace()
		wait := time.Until(c.due)
		if bandwidth > 0 {
			wait = max(wait, 0) + time.Duration(len(c.data))*time.Second/time.Duration(bandwidth)
		}
		if !paused {
			if wait <= 0 {
				return true
			}
			select {
			case <-time.After(wait):
				if paused, _, _, _ := l.proxy.pace(); paused {
					continue
				}
				return true
			case <-l.done:
				return false
			}
		}
		select {
		case <-changed:
		case <-l.done:
			return false
		}
	}
}

// swallow reads what the client sends and forgets it, until the client or the proxy ends the link.
func (l *link) swallow() {
	if l.isLost() && l.client.SetReadDeadline(time.Time{}) == nil {
		_, _ = io.Copy(io.Discard, l.client)
	}
}

// loseServer closes the server's side only.
func (l *link) loseServer() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost || l.closed {
		return
	}
	l.lost = true
	close(l.done)
	if l.server != nil {
		_ = l.server.Close()
	}
	// Wakes the pump that waits in Read on the client's side.
	_ = l.client.SetReadDeadline(time.Now())
}

func (l *link) isLost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost && !l.closed
}

// end closes the link when one direction has ended, unless only the server was lost.
func (l *link) end() {
	if !l.isLost() {
		l.close(false)
	}
}

// close ends both sides; with reset the peers get an error instead of an end.
func (l *link) close(reset bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	if !l.lost {
		close(l.done)
	}
	for _, c := range []net.Conn{l.client, l.server} {
		if c == nil {
			continue
		}
		if tcp, ok := c.(*net.TCPConn); ok && reset {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
}
