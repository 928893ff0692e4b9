package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/sluice-outbox/sluice/integration/servers"
)

// BuildSluice builds the sluice command, once a process, and returns the path of the binary. It is
// removed with the shared servers, by [Main] or [CloseShared].
func BuildSluice(t TB) string {
	t.Helper()
	path, err := builtSluice()
	if err != nil {
		t.Fatalf("%v", err)
	}
	return path
}

var built struct {
	sync.Mutex
	dir  string
	path string
	err  error
}

func builtSluice() (string, error) {
	built.Lock()
	defer built.Unlock()
	if built.path == "" && built.err == nil {
		built.dir, built.path, built.err = build("github.com/sluice-outbox/sluice/cmd/sluice")
	}
	return built.path, built.err
}

// build compiles a command of this module into a folder of its own.
func build(pkg string) (dir, path string, err error) {
	dir, err = servers.NewDir("build")
	if err != nil {
		return "", "", err
	}
	path = filepath.Join(dir, filepath.Base(pkg))
	out, err := exec.Command("go", "build", "-o", path, pkg).CombinedOutput()
	if err != nil {
		return dir, "", fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return dir, path, nil
}

func removeBuilt() error {
	built.Lock()
	defer built.Unlock()
	dir := built.dir
	built.dir, built.path, built.err = "", "", errors.New("integration: the built binary was removed")
	if dir == "" {
		return nil
	}
	return os.RemoveAll(dir)
}
