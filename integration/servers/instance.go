package servers

import (
	"context"
	"fmt"
	"sync/atomic"
)

// Instance is one server, as a process or as a container. It can be started again after it was
// killed or ended by itself, with the same files and ports.
type Instance interface {
	Start(ctx context.Context) error
	// Kill sends SIGKILL and waits until the server is gone; nil if it was gone.
	Kill() error
	// Terminate sends SIGTERM and waits. When ctx ends first it kills the server.
	Terminate(ctx context.Context) error
	// Freeze stops the server with SIGSTOP, and returns when it is still.
	Freeze() error
	Thaw() error
	// Ended is closed when the run that Start began has ended.
	Ended() <-chan struct{}
	// Output is the last lines that the server printed.
	Output() string
	// PID is 0 when the server does not run.
	PID() int
	// Remove kills the server and removes what its engine keeps of it.
	Remove() error
}

// Spec describes a server before it is known what will run it.
type Spec struct {
	Name    string
	Image   string // for an engine
	Command []string
	Env     []string
	// Dir has the same path inside a container as outside.
	Dir   string
	Ports []int
	// HostNetwork is for servers that must reach each other.
	HostNetwork bool
}

// Engine runs servers in containers.
type Engine interface {
	// Find makes sure that the engine has the image.
	Find(ctx context.Context, image string) error
	// New prepares a container without starting it.
	New(spec Spec) Instance
}

var engine atomic.Pointer[Engine]

// UseEngine gives this package an engine, which it then tries before this machine's programs.
// Package integration does that for tests; what is shipped has none, and none of its modules.
func UseEngine(e Engine) { engine.Store(&e) }

// newInstance makes the instance for a place.
func newInstance(p place, spec Spec) Instance {
	if p.origin == OriginDocker {
		return (*engine.Load()).New(spec)
	}
	return &local{spec: spec}
}

// awaitReady polls probe until it succeeds, the server ends or ctx does. The error holds the last
// lines the server printed.
func awaitReady(ctx context.Context, name string, i Instance,
	probe func(context.Context) error,
) error {
	var last error
	for {
		if last = probe(ctx); last == nil {
			return nil
		}
		select {
		case <-i.Ended():
			return fmt.Errorf("%s ended while starting; its last lines:\n%s", name, i.Output())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w (%w); its last lines:\n%s", name, ctx.Err(), last,
				i.Output())
		case <-tick():
		}
	}
}
