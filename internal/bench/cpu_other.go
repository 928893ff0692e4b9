//go:build !linux

package bench

import (
	"errors"
	"time"
)

// processCPU is the time that a process of this machine has had a processor.
func processCPU(int) (time.Duration, error) {
	return 0, errors.New("bench: the CPU time of another process can only be measured on Linux")
}
