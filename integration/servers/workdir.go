package servers

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/sluice-outbox/sluice/integration/process"
)

// NewDir makes a temporary folder whose name tells which process it belongs to, so that a later run
// can remove what a killed one left.
func NewDir(what string) (string, error) {
	sweepOnce()
	dir, err := os.MkdirTemp("", fmt.Sprintf("sluice-test-%d-%s-", os.Getpid(), what))
	if err != nil {
		return "", fmt.Errorf("folder for %s: %w", what, err)
	}
	return dir, nil
}

var sweepOnce = sync.OnceFunc(sweep)

// sweep removes the folders of processes that no longer exist.
func sweep() {
	found, err := filepath.Glob(filepath.Join(os.TempDir(), "sluice-test-*-*"))
	if err != nil {
		return
	}
	for _, dir := range found {
		owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), "sluice-test-"), "-")
		pid, err := strconv.Atoi(owner)
		if err == nil && !process.Alive(pid) {
			// Another user's folder cannot be removed and is theirs to remove.
			_ = os.RemoveAll(dir)
		}
	}
}
