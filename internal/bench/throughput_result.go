package bench

import "time"

// ThroughputRun is one run of one driver over the backlog. A nil figure could not be measured.
type ThroughputRun struct {
	Round       int      `json:"round,omitempty"`
	Rate        float64  `json:"entries_per_second"`
	CPU         *float64 `json:"own_cpu_us"` // microseconds an entry
	RedisCPU    *float64 `json:"redis_cpu_us"`
	FileBytes   *float64 `json:"aof_bytes"` // an entry
	Peak        int64    `json:"peak_memory_bytes"`
	Duplicates  int      `json:"duplicates"`
	OutOfOrder  int      `json:"out_of_order"`
	FirstAfter  float64  `json:"first_visible_ms"` // from the start of the driver
	AtFirst     int      `json:"visible_at_first"` // not counted in the rate
	LastAfter   float64  `json:"last_visible_ms"`
	OrderKnown  bool     `json:"order_known"`
	EntriesSeen int      `json:"entries"`
}

// ThroughputResult is a driver's runs and their medians.
type ThroughputResult struct {
	Driver Driver          `json:"driver"`
	Median ThroughputRun   `json:"median"`
	Runs   []ThroughputRun `json:"runs"`
}

func (r ThroughputResult) withMedian() ThroughputResult {
	m := ThroughputRun{OrderKnown: true}
	m.Rate = *medianOf(r.Runs, func(t ThroughputRun) *float64 { return &t.Rate })
	m.FirstAfter = *medianOf(r.Runs, func(t ThroughputRun) *float64 { return &t.FirstAfter })
	m.LastAfter = *medianOf(r.Runs, func(t ThroughputRun) *float64 { return &t.LastAfter })
	m.CPU = medianOf(r.Runs, func(t ThroughputRun) *float64 { return t.CPU })
	m.RedisCPU = medianOf(r.Runs, func(t ThroughputRun) *float64 { return t.RedisCPU })
	m.FileBytes = medianOf(r.Runs, func(t ThroughputRun) *float64 { return t.FileBytes })
	for _, t := range r.Runs {
		// Not medians: once is too often.
		m.Duplicates += t.Duplicates
		m.OutOfOrder += t.OutOfOrder
		m.OrderKnown = m.OrderKnown && t.OrderKnown
		m.Peak = max(m.Peak, t.Peak)
		m.EntriesSeen = t.EntriesSeen
		m.AtFirst = t.AtFirst
	}
	r.Median = m
	return r
}

func (r *ThroughputRun) spent(cpu time.Duration, before, after gauge, entries int) {
	each := func(d float64) *float64 { d /= float64(entries); return &d }
	redisCPU, file := after.since(before)
	r.CPU, r.RedisCPU = each(us(cpu)), each(us(redisCPU))
	if file != nil {
		r.FileBytes = each(float64(*file))
	}
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
