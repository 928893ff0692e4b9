package servers

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

func TestSweepRemovesOnlyWhatTheDeadLeft(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	child := exec.Command("true")
	if err := child.Run(); err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(tmp, "sluice-test-"+strconv.Itoa(child.Process.Pid)+"-redis-1")
	live := filepath.Join(tmp, "sluice-test-"+strconv.Itoa(os.Getpid())+"-redis-1")
	other := filepath.Join(tmp, "sluice-test-notes-1")
	for _, dir := range []string{dead, live, other} {
		if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	sweep()
	for dir, want := range map[string]bool{dead: false, live: true, other: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestHeldPortsAreDifferentAndFree(t *testing.T) {
	t.Parallel()
	seen := map[int]bool{}
	for range 50 {
		p, err := holdPort()
		if err != nil {
			t.Fatal(err)
		}
		defer p.release()
		if seen[p.port] || p.port < firstPort || p.port >= lastPort {
			t.Fatalf("port %d", p.port)
		}
		seen[p.port] = true
	}
}
