package bench

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// processCPU is the time that a process of this machine has had a processor, user and system, all
// threads together.
func processCPU(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("CPU time: %w", err)
	}
	return parseStat(string(stat))
}

// tick is the unit of times in /proc, whatever the kernel's own is: a hundredth of a second on
// every architecture that Go knows.
const tick = 10 * time.Millisecond

// parseStat reads fields 14 and 15. The second is the program's name in parentheses, which may have
// anything in it.
func parseStat(stat string) (cpu time.Duration, err error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, errors.New("CPU time: /proc has too few fields of the process")
	}
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("CPU time: %w", err)
		}
		cpu += time.Duration(ticks) * tick
	}
	return cpu, nil
}
