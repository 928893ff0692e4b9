package servers

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
)

// Ports are taken from below the range out of which kernels choose the source ports of outgoing
// connections (32768 and up on Linux, 49152 and up elsewhere). Inside that range a port whose
// server is down for a moment can be taken by any client, and a client that keeps dialing it on
// loopback can even end up connected to itself.
const (
	firstPort = 20000
	lastPort  = 32000
)

// heldPort is a port that no other process using this package will choose until it is released,
// also while the server on it is down between two starts.
type heldPort struct {
	port int
	lock net.Listener // nil where the system has no abstract sockets
}

func holdPort() (*heldPort, error) {
	for range 200 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		lock, err := lockPort(port)
		if err != nil {
			continue
		}
		l, err := net.Listen("tcp", loopback(port))
		if err != nil {
			closeQuietly(lock)
			continue
		}
		if err := l.Close(); err != nil {
			closeQuietly(lock)
			return nil, fmt.Errorf("try port %d: %w", port, err)
		}
		return &heldPort{port: port, lock: lock}, nil
	}
	return nil, errors.New("no free port on 127.0.0.1 between 20000 and 32000")
}

// lockPort claims the port among the processes that use this package: a name in Linux's abstract
// socket namespace has one owner and vanishes with it, however it ends.
func lockPort(port int) (net.Listener, error) {
	if runtime.GOOS != "linux" {
		return nil, nil
	}
	return net.Listen("unix", "@sluice-integration-port-"+strconv.Itoa(port))
}

func (h *heldPort) addr() string { return loopback(h.port) }

func (h *heldPort) release() { closeQuietly(h.lock) }

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func closeQuietly(l net.Listener) {
	if l != nil {
		_ = l.Close()
	}
}
