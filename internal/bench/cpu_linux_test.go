package bench

import (
	"os"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	cpu, err := parseStat(
		"4711 (a) S (b 1 2) S 1 4711 4711 0 -1 4194560 9 0 0 0 150 25 7 7 20 0 30 0 100 1000 200 " +
			"18446744073709551615\n")
	if err != nil || cpu != 1750*time.Millisecond {
		t.Errorf("%v, %v, want 1.75s", cpu, err)
	}
	for _, bad := range []string{"", "1 (x) S 1 2 3", "1 (x) S 1 1 1 0 -1 0 9 0 0 0 many 25 0 0"} {
		if cpu, err := parseStat(bad); err == nil {
			t.Errorf("%q gives %v and no error", bad, cpu)
		}
	}
}

// What /proc says of this process and what getrusage does are the same, but for the size of a tick.
func TestProcessCPU(t *testing.T) {
	own, err := ownCost()
	if err != nil {
		t.Fatal(err)
	}
	for now := own; now.cpu < own.cpu+5*tick; {
		if now, err = ownCost(); err != nil {
			t.Fatal(err)
		}
	}
	cpu, err := processCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if after, err := ownCost(); err != nil || cpu < own.cpu || cpu > after.cpu+2*tick {
		t.Errorf("%v, want %v to %v (%v)", cpu, own.cpu, after.cpu, err)
	}
	if _, err := processCPU(1 << 30); err == nil {
		t.Error("no error for a process that is not there")
	}
}
