package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// findRedisProgram finds a Redis or Valkey server among this machine's programs.
func findRedisProgram(context.Context) (place, error) {
	if bin := os.Getenv(envRedisBin); bin != "" {
		path, err := exec.LookPath(bin)
		if err != nil {
			return place{}, fmt.Errorf("%s: %w", envRedisBin, err)
		}
		return place{origin: OriginLocal, program: path}, nil
	}
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return place{origin: OriginLocal, program: path}, nil
		}
	}
	return place{}, errors.New("neither redis-server nor valkey-server is on PATH")
}
