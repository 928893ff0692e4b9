//go:build unix

package bench

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ownCost is what this process has cost so far.
func ownCost() (cost, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return cost{}, fmt.Errorf("getrusage: %w", err)
	}
	peak, err := peakMemory(&u)
	return cost{cpu: time.Duration(u.Utime.Nano() + u.Stime.Nano()), peak: peak}, err
}

// peakMemory is the most memory that this process had resident. On Linux the figure of getrusage is
// not it: a process inherits there what its parent had when it was started.
func peakMemory(u *syscall.Rusage) (int64, error) {
	switch runtime.GOOS {
	case "linux":
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			return 0, fmt.Errorf("peak memory: %w", err)
		}
		return parsePeak(string(status))
	case "darwin":
		return int64(u.Maxrss), nil //nolint:unconvert // it is 32 bits wide on some systems
	}
	return int64(u.Maxrss) * 1024, nil //nolint:unconvert // as above
}

func parsePeak(status string) (int64, error) {
	for line := range strings.Lines(status) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kB, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "kB")),
				10, 64)
			return kB << 10, err
		}
	}
	return 0, errors.New("peak memory: /proc/self/status has no VmHWM")
}
