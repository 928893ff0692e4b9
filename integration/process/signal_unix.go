//go:build unix

package process

import (
	"errors"
	"syscall"
)

// Alive reports whether a process with this id exists, ours or not.
func Alive(pid int) bool {
	if pid <= 0 {
		return false
	}
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// Stop freezes the process with SIGSTOP and returns when it is still: its connections stay
// open, its clock goes on, it does nothing.
func (p *Process) Stop() error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return AwaitStopped(p.PID())
}

// Cont continues a stopped process.
func (p *Process) Cont() error { return p.Signal(syscall.SIGCONT) }
