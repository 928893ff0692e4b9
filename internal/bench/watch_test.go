package bench

import (
	"testing"
	"time"
)

func TestTally(t *testing.T) {
	start := time.Unix(1_000, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	tally := newTally(2*keys, at(0))
	for n := range 100 {
		tally.add(n, at(100+n/95*7)) // the first 95 at once, five on another partition
	}
	for n := 100; n < 1000; n++ {
		if n != 500 {
			tally.add(n, at(200))
		}
	}
	tally.add(1100, at(400))
	tally.add(1100, at(500))     // again
	tally.add(500+keys, at(600)) // of a key that has none yet
	tally.add(500, at(1107))     // after the later one of its key
	tally.add(-1, at(2000))      // none of ours
	tally.add(2*keys, at(2000))  // none of ours

	if tally.arrived != 1002 || tally.atFirst != 100 || tally.inversions != 1 ||
		tally.duplicates != 1 || tally.strangers != 2 {
		t.Errorf("%d arrived, %d at first, %d inversions, %d duplicates, %d strangers",
			tally.arrived, tally.atFirst, tally.inversions, tally.duplicates, tally.strangers)
	}
	if got, want := tally.rate(), 902.0; got != want { // from 107 to 1107 ms
		t.Errorf("%v entries/s, want %v", got, want)
	}
}

// A backlog that becomes visible all at once has no first and last: it is measured from the start.
func TestTallyOfOneBatch(t *testing.T) {
	start := time.Unix(1_000, 0)
	tally := newTally(2, start)
	tally.add(0, start.Add(time.Second))
	tally.add(1, start.Add(time.Second))
	if got := tally.rate(); got != 2 {
		t.Errorf("%v entries/s, want 2", got)
	}
	if newTally(2, start).rate() != 0 {
		t.Error("nothing has a rate")
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.values, got, c.want)
		}
	}
	one := 1.0
	if medianOf([]*float64{&one, nil}, func(v *float64) *float64 { return v }) != nil {
		t.Error("a figure that one run lacks has a median")
	}
}

func TestGauge(t *testing.T) {
	info := map[string]string{
		"used_cpu_user": "1.500000", "used_cpu_sys": "0.250000",
		"aof_enabled": "1", "aof_current_size": "1000", "aof_buffer_length": "24", "aof_base_size": "88",
		"aof_rewrite_in_progress": "0",
	}
	before, err := parseGauge(info)
	if err != nil {
		t.Fatal(err)
	}
	info["used_cpu_user"], info["aof_current_size"] = "2.0", "1500"
	after, err := parseGauge(info)
	if err != nil {
		t.Fatal(err)
	}
	cpu, file := after.since(before)
	if cpu != 500*time.Millisecond || file == nil || *file != 500 {
		t.Errorf("%v and %v bytes", cpu, file)
	}

	info["aof_base_size"] = "900" // rewritten meanwhile
	after, err = parseGauge(info)
	if err != nil {
		t.Fatal(err)
	}
	if _, file := after.since(before); file != nil {
		t.Errorf("%d bytes although the file was rewritten", *file)
	}
	delete(info, "aof_enabled")
	after, err = parseGauge(info)
	if err != nil {
		t.Fatal(err)
	}
	if _, file := after.since(before); file != nil {
		t.Errorf("%d bytes without a file", *file)
	}
	delete(info, "used_cpu_sys")
	if _, err := parseGauge(info); err == nil {
		t.Error("no error without used_cpu_sys")
	}
}
