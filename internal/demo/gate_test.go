package demo

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// echo returns a connection through g to a server that sends everything back.
func echo(t *testing.T, g *gate) net.Conn {
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
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	c, err := g.dial(context.Background(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, c net.Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Fatalf("read %q, %v; want %q", b, err, want)
	}
}

func TestFrozenGateHoldsBack(t *testing.T) {
	g := newGate()
	c := echo(t, g)
	say(t, c, "one")
	hear(t, c, "one")

	g.freeze()
	got := make(chan string, 1)
	go func() {
		b := make([]byte, 3)
		_, _ = io.ReadFull(c, b)
		got <- string(b)
	}()
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		_, _ = c.Write([]byte("two"))
	}()
	select {
	case <-wrote:
		t.Fatal("a write passed a frozen gate")
	case s := <-got:
		t.Fatalf("%q passed a frozen gate", s)
	case <-time.After(50 * time.Millisecond):
	}
	g.thaw()
	<-wrote
	if s := <-got; s != "two" {
		t.Fatalf("after the thaw came %q", s)
	}
}

func TestFrozenGateKeepsWhatWasRead(t *testing.T) {
	g := newGate()
	c := echo(t, g)
	got := make(chan string, 1)
	go func() {
		b := make([]byte, 5)
		_, _ = io.ReadFull(c, b)
		got <- string(b)
	}()
	say(t, c, "early") // its echo may come before or after the freeze
	g.freeze()
	g.thaw()
	if s := <-got; s != "early" {
		t.Fatalf("got %q", s)
	}
}

func TestDeadlinesPassInFrozenGate(t *testing.T) {
	g := newGate()
	c := echo(t, g)
	g.freeze()
	for name, try := range map[string]func([]byte) (int, error){"read": c.Read, "write": c.Write} {
		if err := c.SetDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := try(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v, want a time-out", name, err)
		}
	}
	g.thaw()
	if err := c.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	say(t, c, "again")
	hear(t, c, "again")
}

func TestCutGateClosesEverything(t *testing.T) {
	for _, frozen := range []bool{false, true} {
		g := newGate()
		c := echo(t, g)
		read := make(chan error, 1)
		if frozen {
			g.freeze()
		}
		go func() {
			_, err := c.Read(make([]byte, 1))
			read <- err
		}()
		g.cut()
		if err := <-read; err == nil {
			t.Errorf("frozen=%v: a read after the cut succeeded", frozen)
		}
		if _, err := g.dial(context.Background(), "tcp", c.RemoteAddr().String()); !errors.Is(err,
			errCut) {
			t.Errorf("frozen=%v: dial after the cut: %v", frozen, err)
		}
	}
}
