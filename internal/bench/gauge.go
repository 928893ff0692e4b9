package bench

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// gauge is what Redis says about itself at one moment.
type gauge struct {
	cpu      time.Duration // user and system, all threads
	file     int64         // bytes of the append-only file; -1: there is none
	rewrites string        // when this changes, two sizes of the file cannot be compared
}

func (s *backends) gauge(ctx context.Context) (gauge, error) {
	info, err := s.info(ctx, "cpu", "persistence", "stats")
	if err != nil {
		return gauge{}, err
	}
	return parseGauge(info)
}

func parseGauge(info map[string]string) (gauge, error) {
	g := gauge{file: -1}
	for _, name := range []string{"used_cpu_user", "used_cpu_sys"} {
		seconds, err := strconv.ParseFloat(info[name], 64)
		if err != nil {
			return g, fmt.Errorf("redis: INFO cpu: %s is %q", name, info[name])
		}
		g.cpu += time.Duration(seconds * float64(time.Second))
	}
	if info["aof_enabled"] == "1" {
		size, err := strconv.ParseInt(info["aof_current_size"], 10, 64)
		if err != nil {
			return g, fmt.Errorf("redis: INFO persistence: aof_current_size is %q", info["aof_current_size"])
		}
		// What waits to be written belongs to the commands before this moment.
		if waiting, err := strconv.ParseInt(info["aof_buffer_length"], 10, 64); err == nil {
			size += waiting
		}
		g.file = size
	}
	g.rewrites = info["aof_base_size"] + "/" + info["aof_rewrite_in_progress"]
	return g, nil
}

// since is what Redis spent between two moments. file is nil where that cannot be known.
func (g gauge) since(before gauge) (cpu time.Duration, file *int64) {
	if g.file >= 0 && before.file >= 0 && g.rewrites == before.rewrites {
		grown := g.file - before.file
		file = &grown
	}
	return g.cpu - before.cpu, file
}
