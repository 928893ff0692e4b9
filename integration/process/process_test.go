//go:build unix

package process

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func startShell(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(Command{
		Name: "script", Path: "sh", Args: []string{"-c", script},
		Env: []string{"GREETING=hello"}, Dir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, p)
	return p
}

func TestProcessWaitTellsTheLastLines(t *testing.T) {
	t.Parallel()
	if err := startShell(t, "exit 0").Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := startShell(t, "echo $GREETING; echo to stderr >&2; exit 3")
	err := p.Wait(t.Context())
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Fatalf("wait: %v", err)
	}
	for _, line := range []string{"hello", "to stderr"} {
		if !strings.Contains(err.Error(), line) || !strings.Contains(p.Output(), line) {
			t.Fatalf("no %q in %v", line, err)
		}
	}
	if err := p.Kill(); err != nil {
		t.Fatalf("kill of an ended process: %v", err)
	}
	if err := p.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Fatalf("signal to an ended process: %v", err)
	}
}

func TestProcessWaitFor(t *testing.T) {
	t.Parallel()
	p := startShell(t, "echo ready; exec sleep 60")
	if err := p.WaitFor(t.Context(), "ready"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := p.WaitFor(ctx, "done"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("text that does not come: %v", err)
	}
	if err := startShell(t, "echo no").WaitFor(t.Context(), "ready"); !errors.Is(err, errEnded) {
		t.Fatalf("process that ends: %v", err)
	}
}

func TestProcessStopAndKill(t *testing.T) {
	t.Parallel()
	p := startShell(t, "trap 'echo got it' USR1; echo ready; while :; do sleep 0.01; done")
	if err := p.WaitFor(t.Context(), "ready"); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.WaitFor(ctx, "got it"); err == nil {
		t.Fatal("a stopped process did something")
	}
	if err := p.Cont(); err != nil {
		t.Fatal(err)
	}
	if err := p.WaitFor(t.Context(), "got it"); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if Alive(p.PID()) {
		t.Fatal("it lives after Kill")
	}
}

func TestProcessTerminate(t *testing.T) {
	t.Parallel()
	p := startShell(t, "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done")
	if err := p.WaitFor(t.Context(), "ready"); err != nil {
		t.Fatal(err)
	}
	if err := p.Terminate(t.Context()); err != nil {
		t.Fatal(err)
	}
	p = startShell(t, "trap '' TERM; echo ready; while :; do sleep 0.01; done")
	if err := p.WaitFor(t.Context(), "ready"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Terminate(ctx); !errors.Is(err, context.DeadlineExceeded) || Alive(p.PID()) {
		t.Fatalf("process that ignores SIGTERM: %v, alive: %v", err, Alive(p.PID()))
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	t.Parallel()
	tl := newTail(10)
	for range 100 {
		if _, err := tl.Write([]byte("abcdef\n")); err != nil {
			t.Fatal(err)
		}
	}
	if got := tl.String(); got != "ef\nabcdef\n" {
		t.Fatalf("kept %q", got)
	}
	if got := tl.lastLines(1); got != "abcdef" {
		t.Fatalf("last line %q", got)
	}
}
