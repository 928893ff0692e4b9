package servers

import (
	"context"

	"github.com/sluice-outbox/sluice/integration/process"
)

// local is a server that runs as a process of this machine.
type local struct {
	spec Spec
	proc *process.Process
}

func (l *local) Start(context.Context) error {
	p, err := process.Start(process.Command{
		Name: l.spec.Name, Path: l.spec.Command[0], Args: l.spec.Command[1:],
		Env: l.spec.Env, Dir: l.spec.Dir,
	})
	if err != nil {
		return err
	}
	l.proc = p
	return nil
}

func (l *local) Kill() error {
	if l.proc == nil {
		return nil
	}
	return l.proc.Kill()
}

func (l *local) Terminate(ctx context.Context) error {
	if l.proc == nil {
		return nil
	}
	return l.proc.Terminate(ctx)
}

func (l *local) Freeze() error          { return l.proc.Stop() }
func (l *local) Thaw() error            { return l.proc.Cont() }
func (l *local) Ended() <-chan struct{} { return l.proc.Done() }
func (l *local) Output() string         { return l.proc.LastLines(30) }
func (l *local) Remove() error          { return l.Kill() }

func (l *local) PID() int {
	if l.proc == nil {
		return 0
	}
	select {
	case <-l.proc.Done():
		return 0
	default:
		return l.proc.PID()
	}
}
