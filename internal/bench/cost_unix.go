//go:build unix

package bench

import (
	"fmt"
	"runtime"
	"syscall"
	"time"
)

// ownCost is what this process has cost so far.
func ownCost() (cost, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return cost{}, fmt.Errorf("getrusage: %w", err)
	}
	peak := int64(u.Maxrss) //nolint:unconvert // it is 32 bits wide on some systems
	if runtime.GOOS != "darwin" {
		peak *= 1024 // kilobytes everywhere else
	}
	return cost{cpu: time.Duration(u.Utime.Nano() + u.Stime.Nano()), peak: peak}, nil
}
