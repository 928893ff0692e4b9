package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Command says how to start a [Process].
type Command struct {
	// Name is how messages call the process; empty means the program's path.
	Name string
	// Path is the program, looked up on PATH if it has no slash.
	Path string
	Args []string
	// Env is added to the environment of this process.
	Env []string
	// Dir is the working directory; empty means the current one.
	Dir string
}

// Process is a running program that a test may kill, stop, continue and wait for. Its standard
// output and standard error are kept, the last megabyte of both together.
//
// On Linux the program is killed when the process that started it ends, however it ends.
type Process struct {
	name string
	cmd  *exec.Cmd
	out  *tail
	done chan struct{}
	err  error // of cmd.Wait; read only after done is closed
}

// Start starts the program and returns at once. The caller ends it with Close.
func Start(c Command) (*Process, error) {
	name := c.Name
	if name == "" {
		name = c.Path
	}
	p := &Process{name: name, out: newTail(1 << 20), done: make(chan struct{})}
	p.cmd = exec.Command(c.Path, c.Args...)
	p.cmd.Env = append(os.Environ(), c.Env...)
	p.cmd.Dir = c.Dir
	p.cmd.Stdout = p.out
	p.cmd.Stderr = p.out
	// A grandchild that inherited the pipes must not keep Wait from returning.
	p.cmd.WaitDelay = 2 * time.Second
	if err := spawn(p.cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		p.out.close()
		close(p.done)
	}()
	return p, nil
}

// PID is the process id. It stays the same after the end.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended and all of its output is kept.
func (p *Process) Done() <-chan struct{} { return p.done }

// Output is what the process printed, the last megabyte of it.
func (p *Process) Output() string { return p.out.String() }

// LastLines is the last n lines of the output, without the line break at the end.
func (p *Process) LastLines(n int) string { return p.out.lastLines(n) }

// Signal sends a signal. A process that has already ended gives [os.ErrProcessDone].
func (p *Process) Signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("signal %v to %s: %w", sig, p.name, err)
	}
	return nil
}

// Kill sends SIGKILL and waits until the process is gone. It works on a stopped process too, and
// does nothing to one that has ended.
func (p *Process) Kill() error {
	err := p.cmd.Process.Kill()
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-p.done
	return nil
}

// Terminate asks the process to end with SIGTERM and waits for it until ctx ends; then it kills it
// and returns ctx's error.
func (p *Process) Terminate(ctx context.Context) error {
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("%s did not end after SIGTERM: %w", p.name, ctx.Err()), p.Kill())
	}
}

// Wait waits for the end of the process. An exit status other than 0 or a death by signal is an
// [*exec.ExitError], with the last lines of the output in the message.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w", p.name, ctx.Err())
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w; its last lines:\n%s", p.name, p.err, p.out.lastLines(20))
	}
	return nil
}

// WaitFor returns when the process has printed text. It is an error if it ends without having done
// so, or ctx ends first; the message holds the last lines of the output.
func (p *Process) WaitFor(ctx context.Context, text string) error {
	err := p.out.waitFor(ctx, text)
	if err != nil {
		return fmt.Errorf("%s did not print %q: %w; its last lines:\n%s", p.name, text, err,
			p.out.lastLines(20))
	}
	return nil
}

// Close ends the process if it still runs. It may be called more than once.
func (p *Process) Close() error { return p.Kill() }
