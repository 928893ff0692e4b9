package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Origin says where a server comes from.
type Origin string

// The origins, in the order in which they are tried.
const (
	OriginEnv    Origin = "env"
	OriginDocker Origin = "docker"
	OriginLocal  Origin = "local"
)

// ErrNotOwned is returned by the controls of a server whose address came from the environment: it
// was not started here and is not ours to break.
var ErrNotOwned = errors.New("integration: this server was not started here")

// unit is one server, as a process or as a container. It can be started again after it was killed
// or ended by itself, with the same files and ports.
type unit interface {
	start(ctx context.Context) error
	kill() error // SIGKILL, and wait until it is gone; nil if it was gone
	terminate(ctx context.Context) error
	freeze() error
	thaw() error
	// ended is closed when the run that start began has ended.
	ended() <-chan struct{}
	output() string
	pid() int      // 0 when it does not run
	remove() error // kill, and remove what the engine keeps of it
}

// unitSpec describes a server before it is known where it will run. The folder has the same path
// inside a container as outside.
type unitSpec struct {
	name        string
	image       string
	command     []string
	env         []string
	dir         string
	ports       []int
	hostNetwork bool // for servers that must reach each other
}

// localUnit is a server that runs as a process of this machine.
type localUnit struct {
	spec unitSpec
	proc *Process
}

func (u *localUnit) start(context.Context) error {
	p, err := StartProcess(Command{
		Name: u.spec.name, Path: u.spec.command[0], Args: u.spec.command[1:],
		Env: u.spec.env, Dir: u.spec.dir,
	})
	if err != nil {
		return err
	}
	u.proc = p
	return nil
}

func (u *localUnit) kill() error {
	if u.proc == nil {
		return nil
	}
	return u.proc.Kill()
}

func (u *localUnit) terminate(ctx context.Context) error {
	if u.proc == nil {
		return nil
	}
	return u.proc.Terminate(ctx)
}

func (u *localUnit) freeze() error          { return u.proc.Stop() }
func (u *localUnit) thaw() error            { return u.proc.Cont() }
func (u *localUnit) ended() <-chan struct{} { return u.proc.Done() }
func (u *localUnit) output() string         { return u.proc.out.lastLines(30) }
func (u *localUnit) remove() error          { return u.kill() }

func (u *localUnit) pid() int {
	if u.proc == nil {
		return 0
	}
	select {
	case <-u.proc.Done():
		return 0
	default:
		return u.proc.PID()
	}
}

// awaitReady polls probe until it succeeds, the server ends or ctx does. The error holds the last
// lines the server printed.
func awaitReady(ctx context.Context, name string, u unit, probe func(context.Context) error) error {
	var last error
	for {
		if last = probe(ctx); last == nil {
			return nil
		}
		select {
		case <-u.ended():
			return fmt.Errorf("%s ended while starting; its last lines:\n%s", name, u.output())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w (%w); its last lines:\n%s", name, ctx.Err(), last, u.output())
		case <-tick():
		}
	}
}

// copyTree replaces dst with a copy of src.
func copyTree(dst, src string) error {
	if err := os.RemoveAll(dst); err != nil {
		return fmt.Errorf("replace %s: %w", dst, err)
	}
	if err := os.MkdirAll(filepath.Dir(dst), 0o700); err != nil {
		return fmt.Errorf("replace %s: %w", dst, err)
	}
	if err := os.CopyFS(dst, os.DirFS(src)); err != nil {
		return fmt.Errorf("copy %s: %w", src, err)
	}
	return nil
}
