package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
)

// ErrNotOwned is returned by the controls of a server whose address came from the environment: it
// was not started here and is not ours to break.
var ErrNotOwned = errors.New("servers: this server was not started here")

// Server is one running server with the controls to break it. A server whose address came from the
// environment answers every control with [ErrNotOwned].
//
// Its methods may be called from several goroutines; they take turns.
type Server struct {
	// Name is how messages call it.
	Name string
	// Addr is where clients reach it, host:port. It does not change over restarts.
	Addr string
	// Origin says where it runs.
	Origin Origin

	mu       sync.Mutex
	instance Instance // nil when not owned
	ready    func(context.Context) error
	cleanup  []func() error // run by Close in reverse order
	closed   bool
}

// Kill ends the server with SIGKILL and waits until it is gone. Killing a dead one does nothing.
func (s *Server) Kill() error {
	return s.with(func() error { return s.instance.Kill() })
}

// Stop freezes the server with SIGSTOP (a container is paused): connections stay open, nothing
// answers.
func (s *Server) Stop() error {
	return s.with(func() error { return s.instance.Freeze() })
}

// Cont continues a stopped server.
func (s *Server) Cont() error {
	return s.with(func() error { return s.instance.Thaw() })
}

// Shutdown ends the server with SIGTERM and waits for it.
func (s *Server) Shutdown(ctx context.Context) error {
	return s.with(func() error { return s.instance.Terminate(ctx) })
}

// Restart starts the server again on the same port with the same files and waits until it answers.
// One that still runs is killed first; for an orderly restart call Shutdown before.
func (s *Server) Restart(ctx context.Context) error {
	return s.with(func() error {
		if err := s.instance.Kill(); err != nil {
			return err
		}
		return s.startLocked(ctx)
	})
}

// PID is the id of the server's process, for reading what it costs; 0 when it does not run or is
// not owned. In a container it is the id on the engine's machine.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.instance == nil || s.closed {
		return 0
	}
	return s.instance.PID()
}

// Output is the last thing the server printed.
func (s *Server) Output() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.instance == nil {
		return ""
	}
	return s.instance.Output()
}

// Close ends the server, gives its port free and removes its files. It may be called more than
// once; on a server that is not owned it does nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	if s.instance != nil {
		errs = append(errs, s.instance.Remove())
	}
	for i := len(s.cleanup) - 1; i >= 0; i-- {
		errs = append(errs, s.cleanup[i]())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close %s: %w", s.Name, err)
	}
	return nil
}

func (s *Server) with(control func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.instance == nil:
		return fmt.Errorf("%s: %w", s.Name, ErrNotOwned)
	case s.closed:
		return fmt.Errorf("%s: %w", s.Name, os.ErrClosed)
	}
	return control()
}

// startLocked needs s.mu, or to be the only user.
func (s *Server) startLocked(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := s.instance.Start(ctx); err != nil {
		return err
	}
	return awaitReady(ctx, s.Name, s.instance, s.ready)
}

// ownDir gives the server a folder that goes when it does.
func (s *Server) ownDir() (string, error) {
	dir, err := NewDir(s.Name)
	if err != nil {
		return "", err
	}
	s.cleanup = append(s.cleanup, func() error { return os.RemoveAll(dir) })
	return dir, nil
}

// ownPort gives the server a port that is its own until it is closed.
func (s *Server) ownPort() (int, error) {
	p, err := holdPort()
	if err != nil {
		return 0, err
	}
	s.cleanup = append(s.cleanup, func() error { p.release(); return nil })
	return p.port, nil
}
