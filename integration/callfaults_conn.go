package integration

import (
	"fmt"
	"net"
	"sync"
	"syscall"
)

// faultConn is one connection of a [CallFaults]. Both protocols answer requests in their order, so
// that the n-th reply belongs to the n-th request.
type faultConn struct {
	net.Conn
	faults *CallFaults

	mu       sync.Mutex
	requests scanner
	replies  scanner
	sent     int  // requests complete so far
	answered int  // replies complete so far
	lose     int  // the reply that must not be handed over; 0 for none
	broken   bool // the connection was lost on purpose
}

// Write sends p, or the part of it before a request that is to be lost.
func (c *faultConn) Write(p []byte) (int, error) {
	keep, lost, err := c.inspectRequests(p)
	if err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p[:keep])
	if lost {
		return n, c.breakOff("write")
	}
	return n, err
}

// inspectRequests returns how much of p may be sent, and whether the connection is to be lost then.
func (c *faultConn) inspectRequests(p []byte) (keep int, lost bool, _ error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken {
		return 0, false, broken("write")
	}
	for at := 0; at < len(p); {
		n, name, complete := c.requests.next(p[at:])
		if complete {
			c.sent++
			mode, fail := c.faults.count(name)
			if fail && mode == RequestLost {
				// If the request began in an earlier write, the server has an incomplete one, which
				// is as good as none.
				return at, true, nil
			}
			if fail {
				c.lose = c.sent
			}
		}
		at += n
	}
	return len(p), false, nil
}

// Read hands over what the server sends, up to a reply that is to be lost.
func (c *faultConn) Read(p []byte) (int, error) {
	for {
		if c.isBroken() {
			return 0, broken("read")
		}
		n, err := c.Conn.Read(p)
		keep, lost := c.inspectReplies(p[:n])
		if lost {
			err = c.breakOff("read")
		}
		if keep > 0 || err != nil || n == 0 {
			return keep, err
		}
	}
}

// inspectReplies returns how much of p may be handed over, and whether the reply to lose is
// complete.
func (c *faultConn) inspectReplies(p []byte) (keep int, lost bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at := 0; at < len(p); {
		n, _, complete := c.replies.next(p[at:])
		at += n
		if c.lose == 0 || c.answered+1 < c.lose {
			keep = at
		}
		if complete {
			c.answered++
		}
		if c.lose != 0 && c.answered == c.lose {
			return keep, true
		}
	}
	return keep, false
}

func (c *faultConn) isBroken() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

// breakOff closes the connection and returns the error that a client sees.
func (c *faultConn) breakOff(op string) error {
	c.mu.Lock()
	c.broken = true
	c.mu.Unlock()
	_ = c.Close()
	return broken(op)
}

// broken is what clients take for any connection that broke.
func broken(op string) error {
	return &net.OpError{Op: op, Net: "tcp", Err: fmt.Errorf("lost on purpose: %w", syscall.ECONNRESET)}
}
