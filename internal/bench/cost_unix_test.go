//go:build unix

package bench

import "testing"

func TestParsePeak(t *testing.T) {
	peak, err := parsePeak(
		"Name:\tsluice\nVmPeak:\t  900000 kB\nVmHWM:\t   62464 kB\nVmRSS:\t   60000 kB\n")
	if err != nil || peak != 61<<20 {
		t.Errorf("%d bytes, %v", peak, err)
	}
	if _, err := parsePeak("Name:\tsluice\n"); err == nil {
		t.Error("no error without VmHWM")
	}
}
