package process

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// envOrphan makes this test binary start a child, tell its id and wait to be killed.
const envOrphan = "SLUICE_TEST_START_AND_WAIT"

func TestChildDiesWithItsParent(t *testing.T) {
	t.Parallel()
	if os.Getenv(envOrphan) != "" {
		p, err := Start(Command{Path: "sleep", Args: []string{"600"}})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = os.Stdout.WriteString("child " + strconv.Itoa(p.PID()) + "\n")
		<-p.Done()
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent, err := Start(Command{
		Path: self, Args: []string{"-test.run=^TestChildDiesWithItsParent$"},
		Env: []string{envOrphan + "=1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, parent)
	if err := parent.WaitFor(t.Context(), "child "); err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(parent.Output(), "child ")
	line, _, _ := strings.Cut(after, "\n")
	child, err := strconv.Atoi(line)
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Kill(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); running(child); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("child %d outlived its parent", child)
		}
	}
}

// running is false for a dead process that nobody has waited for yet, too.
func running(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

func TestChildOutlivesTheThreadThatAskedForIt(t *testing.T) {
	t.Parallel()
	started := make(chan *Process)
	go func() {
		// Not unlocked: the thread ends with this goroutine.
		runtime.LockOSThread()
		p, err := Start(Command{Path: "sleep", Args: []string{"600"}})
		if err != nil {
			t.Error(err)
		}
		started <- p
	}()
	p := <-started
	if p == nil {
		return
	}
	closeAtEnd(t, p)
	select {
	case <-p.Done():
		t.Fatal("the child died with a thread")
	case <-time.After(50 * time.Millisecond):
	}
}
