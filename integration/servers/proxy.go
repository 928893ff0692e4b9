package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Proxy is between clients and one server and breaks the network between them. Its listener is
// on loopback. All methods may be called at any time from any goroutine, and hold for connections
// that exist as well as for those to come.
type Proxy struct {
	target   string
	listener net.Listener
	wg       sync.WaitGroup

	mu        sync.Mutex
	links     map[*link]struct{}
	paused    bool
	refusing  bool
	deaf      bool
	latency   time.Duration
	bandwidth int
	changed   chan struct{} // closed and replaced when paused, refusing or deaf changes
	closed    bool
}

// NewProxy starts a proxy before the server at target, host:port. The caller ends it with Close.
func NewProxy(target string) (*Proxy, error) {
	port, err := holdPort()
	if err != nil {
		return nil, err
	}
	defer port.release() // the listener itself holds it from here on
	return newProxyAt(port.addr(), target)
}

func newProxyAt(addr, target string) (*Proxy, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("proxy for %s: %w", target, err)
	}
	p := &Proxy{target: target, listener: l, links: map[*link]struct{}{}, changed: make(chan struct{})}
	p.wg.Add(1)
	go p.accept()
	return p, nil
}

// Addr is where clients connect, host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Pause holds back all bytes in both directions; connections stay open, and new ones are accepted.
// Nothing is lost: Heal lets the bytes go on.
func (p *Proxy) Pause() { p.set(func() { p.paused = true }) }

// Cut closes all connections and closes new ones as soon as they are made, until Heal.
func (p *Proxy) Cut() {
	p.set(func() { p.refusing = true })
	p.drop(false)
}

// Reset breaks all connections with a TCP reset, so that both sides see an error at once. New
// connections work.
func (p *Proxy) Reset() { p.drop(true) }

// HalfOpen makes the server vanish without a word: the connections to it are closed, those to
// clients stay open, and what clients send disappears. New connections fare the same. After Heal
// new connections work; the half-open ones stay as they are until the client gives up.
func (p *Proxy) HalfOpen() {
	p.set(func() { p.deaf = true })
	for _, l := range p.current() {
		l.loseServer()
	}
}

// Heal ends Pause, Cut and HalfOpen. Latency and bandwidth stay.
func (p *Proxy) Heal() { p.set(func() { p.paused, p.refusing, p.deaf = false, false, false }) }

// SetLatency delays all bytes by d in each direction; 0 ends it.
func (p *Proxy) SetLatency(d time.Duration) { p.set(func() { p.latency = d }) }

// SetBandwidth limits each direction of each connection to n bytes a second; 0 ends it.
func (p *Proxy) SetBandwidth(n int) { p.set(func() { p.bandwidth = n }) }

// Connections is how many client connections are open.
func (p *Proxy) Connections() int { return len(p.current()) }

// Close ends the proxy and all of its connections.
func (p *Proxy) Close() error {
	p.set(func() { p.closed = true })
	err := p.listener.Close()
	p.drop(false)
	p.wg.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close proxy for %s: %w", p.target, err)
	}
	return nil
}

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) current() []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*link, 0, len(p.links))
	for l := range p.links {
		all = append(all, l)
	}
	return all
}

func (p *Proxy) drop(reset bool) {
	for _, l := range p.current() {
		l.close(reset)
	}
}

func (p *Proxy) accept() {
	defer p.wg.Done()
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // Close closed the listener
		}
		p.wg.Add(1)
		go p.serve(client)
	}
}

// serve carries one client's connection until either side ends.
func (p *Proxy) serve(client net.Conn) {
	defer p.wg.Done()
	l := newLink(p, client)
	defer l.close(false)
	p.mu.Lock()
	refuse := p.refusing || p.closed
	if !refuse {
		p.links[l] = struct{}{}
	}
	p.mu.Unlock()
	if refuse {
		return
	}
	defer func() {
		p.mu.Lock()
		delete(p.links, l)
		p.mu.Unlock()
	}()
	l.run()
}

// pace returns what holds at this moment for bytes on their way; change is closed when it may be
// different.
func (p *Proxy) pace() (paused bool, latency time.Duration, bandwidth int, change <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.paused, p.latency, p.bandwidth, p.changed
}

func (p *Proxy) isDeaf() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.deaf
}

// Dial connects through the proxy whatever addr says; it fits the Dialer of go-redis and of
// franz-go for a server that is alone.
func (p *Proxy) Dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, p.Addr())
}
