package servers

import (
	"bufio"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// echoServer answers each line with itself.
func echoServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

type lineConn struct {
	net.Conn
	in *bufio.Reader
}

func dialLine(t *testing.T, addr string) *lineConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &lineConn{c, bufio.NewReader(c)}
}

// ask sends a line and waits for it to come back.
func (c *lineConn) ask(line string, wait time.Duration) error {
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return err
	}
	return c.expect(line, wait)
}

func (c *lineConn) expect(line string, wait time.Duration) error {
	if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	got, err := c.in.ReadString('\n')
	if err == nil && got != line+"\n" {
		err = errors.New("got " + got)
	}
	return err
}

func newTestProxy(t *testing.T) *Proxy {
	t.Helper()
	p, err := NewProxy(echoServer(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

const (
	soon = 5 * time.Second       // long enough on a busy machine
	none = 50 * time.Millisecond // long enough to see that nothing comes
)

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func TestProxyCarries(t *testing.T) {
	t.Parallel()
	p := newTestProxy(t)
	c := dialLine(t, p.Addr())
	for range 100 {
		if err := c.ask("hello", soon); err != nil {
			t.Fatal(err)
		}
	}
}

func TestProxyPauseLosesNothing(t *testing.T) {
	t.Parallel()
	p := newTestProxy(t)
	c := dialLine(t, p.Addr())
	if err := c.ask("before", soon); err != nil {
		t.Fatal(err)
	}
	p.Pause()
	if err := c.ask("held", none); !isTimeout(err) {
		t.Fatalf("paused: %v", err)
	}
	p.Heal()
	if err := c.expect("held", soon); err != nil {
		t.Fatal(err)
	}
}

func TestProxyCutClosesAndRefuses(t *testing.T) {
	t.Parallel()
	p := newTestProxy(t)
	c := dialLine(t, p.Addr())
	if err := c.ask("before", soon); err != nil {
		t.Fatal(err)
	}
	p.Cut()
	if err := c.ask("x", soon); err == nil || isTimeout(err) {
		t.Fatalf("cut: %v", err)
	}
	if err := dialLine(t, p.Addr()).ask("x", soon); err == nil || isTimeout(err) {
		t.Fatalf("new connection while cut: %v", err)
	}
	p.Heal()
	if err := dialLine(t, p.Addr()).ask("x", soon); err != nil {
		t.Fatal(err)
	}
}

func TestProxyResetIsSeenAsReset(t *testing.T) {
	t.Parallel()
	p := newTestProxy(t)
	c := dialLine(t, p.Addr())
	if err := c.ask("before", soon); err != nil {
		t.Fatal(err)
	}
	p.Reset()
	if err := c.expect("", soon); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("reset: %v", err)
	}
	if err := dialLine(t, p.Addr()).ask("x", soon); err != nil {
		t.Fatal(err)
	}
}

func TestProxyHalfOpenSwallows(t *testing.T) {
	t.Parallel()
	p := newTestProxy(t)
	old := dialLine(t, p.Addr())
	if err := old.ask("before", soon); err != nil {
		t.Fatal(err)
	}
	p.HalfOpen()
	fresh := dialLine(t, p.Addr())
	for name, c := range map[string]*lineConn{"old": old, "new": fresh} {
		if err := c.ask("x", none); !isTimeout(err) {
			t.Fatalf("%s connection: %v", name, err)
		}
	}
	p.Heal()
	if err := old.ask("x", none); !isTimeout(err) {
		t.Fatalf("half-open connection after Heal: %v", err)
	}
	if err := dialLine(t, p.Addr()).ask("x", soon); err != nil {
		t.Fatal(err)
	}
}

func TestProxySlows(t *testing.T) {
	t.Parallel()
	p := newTestProxy(t)
	c := dialLine(t, p.Addr())
	p.SetLatency(60 * time.Millisecond)
	begin := time.Now()
	if err := c.ask("x", soon); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < 120*time.Millisecond {
		t.Fatalf("60 ms each way took %v", took)
	}
	p.SetLatency(0)
	p.SetBandwidth(1000)
	begin = time.Now()
	if err := c.ask(string(make([]byte, 99)), soon); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < 180*time.Millisecond {
		t.Fatalf("100 bytes at 1000 a second, twice, took %v", took)
	}
}

func TestProxiesTellNewOnes(t *testing.T) {
	t.Parallel()
	p := NewProxies()
	t.Cleanup(func() { _ = p.Close() })
	addr := echoServer(t)
	p.Cut()
	proxy, err := p.For(addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := dialLine(t, proxy.Addr()).ask("x", soon); err == nil || isTimeout(err) {
		t.Fatalf("new proxy while cut: %v", err)
	}
	p.Heal()
	c, err := p.Dial(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := (&lineConn{c, bufio.NewReader(c)}).ask("x", soon); err != nil {
		t.Fatal(err)
	}
}
