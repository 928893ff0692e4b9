package servers

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// Proxies puts one [Proxy] before each server that a client dials. Its Dial fits the Dialer of
// franz-go and of go-redis, and so serves clients that learn addresses from the servers: Kafka,
// Redis Cluster, Sentinel.
type Proxies struct {
	mu      sync.Mutex
	proxies map[string]*Proxy // by the address that was dialed
	state   []func(*Proxy)    // what new proxies are told, so that they do as the others
	closed  bool
}

// NewProxies starts with no proxy; each is made at the first dial of its server. The caller ends
// them with Close, after the clients.
func NewProxies() *Proxies { return &Proxies{proxies: map[string]*Proxy{}} }

// Dial connects to addr through its proxy.
func (p *Proxies) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	proxy, err := p.For(addr)
	if err != nil {
		return nil, err
	}
	return proxy.Dial(ctx, network, addr)
}

// For returns the proxy before the server at addr, for faults of one server only.
func (p *Proxies) For(addr string) (*Proxy, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, net.ErrClosed
	}
	if proxy := p.proxies[addr]; proxy != nil {
		return proxy, nil
	}
	proxy, err := NewProxy(addr)
	if err != nil {
		return nil, err
	}
	for _, tell := range p.state {
		tell(proxy)
	}
	p.proxies[addr] = proxy
	return proxy, nil
}

// Pause is [Proxy.Pause] for all.
func (p *Proxies) Pause() { p.all((*Proxy).Pause) }

// Cut is [Proxy.Cut] for all.
func (p *Proxies) Cut() { p.all((*Proxy).Cut) }

// HalfOpen is [Proxy.HalfOpen] for all.
func (p *Proxies) HalfOpen() { p.all((*Proxy).HalfOpen) }

// SetLatency is [Proxy.SetLatency] for all.
func (p *Proxies) SetLatency(d time.Duration) { p.all(func(x *Proxy) { x.SetLatency(d) }) }

// SetBandwidth is [Proxy.SetBandwidth] for all.
func (p *Proxies) SetBandwidth(n int) { p.all(func(x *Proxy) { x.SetBandwidth(n) }) }

// Heal is [Proxy.Heal] for all.
func (p *Proxies) Heal() { p.all((*Proxy).Heal) }

// Reset is [Proxy.Reset] for all.
func (p *Proxies) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, proxy := range p.proxies {
		proxy.Reset()
	}
}

// Close ends all proxies.
func (p *Proxies) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for _, proxy := range p.proxies {
		errs = append(errs, proxy.Close())
	}
	return errors.Join(errs...)
}

func (p *Proxies) all(tell func(*Proxy)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = append(p.state, tell)
	for _, proxy := range p.proxies {
		tell(proxy)
	}
}
