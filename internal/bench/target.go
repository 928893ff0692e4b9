package bench

import "fmt"

// Target is a figure that Sluice wants to reach. Missing it fails nothing.
type Target struct {
	Name     string  `json:"name"`
	Wanted   string  `json:"wanted"`
	Limit    float64 `json:"limit"`
	Value    float64 `json:"value"`
	Measured string  `json:"measured"`
	Reached  bool    `json:"reached"`
}

// housekeepingBytes is what may reach the append-only file an entry although reading writes
// nothing: the relay shows its position and its status in Redis once a second.
const housekeepingBytes = 0.1

// judge compares with what is wanted, as far as it was measured.
func (r *Report) judge() {
	r.judgeThroughput()
	r.judgeLatency()
	r.judgeWriter()
}

func (r *Report) judgeThroughput() {
	throughput := map[Driver]ThroughputRun{}
	for _, t := range r.Throughput {
		throughput[t.Driver] = t.Median
	}
	loop, haveLoop := throughput[Driver{Loop, 1}]
	once, haveOnce := throughput[Driver{ExactlyOnce, 1}]
	if haveLoop && haveOnce {
		r.atLeast("exactly-once over the loop, entries/s", once.Rate/loop.Rate, 2.5,
			fmt.Sprintf("%.0f over %.0f", once.Rate, loop.Rate))
		if once.CPU != nil && loop.CPU != nil {
			r.atMost("exactly-once over the loop, own CPU an entry", *once.CPU / *loop.CPU, 0.5,
				fmt.Sprintf("%.2f µs over %.2f µs", *once.CPU, *loop.CPU))
		}
	}
	if haveOnce && once.FileBytes != nil {
		r.atMost("AOF bytes an entry that exactly-once reads", *once.FileBytes, housekeepingBytes,
			"none but the position once a second")
	}
	for _, t := range r.Throughput {
		if c := t.Driver; haveOnce && c.Kind == ExactlyOnce && c.Shards > 1 {
			r.atLeast(fmt.Sprintf("exactly-once, %d shards over one, entries/s", c.Shards),
				t.Median.Rate/once.Rate, 1,
				fmt.Sprintf("%.0f over %.0f", t.Median.Rate, once.Rate))
		}
	}
}

func (r *Report) judgeLatency() {
	p50 := map[Kind]map[int]float64{}
	for _, l := range r.Latency {
		if l.Driver.Shards != 1 {
			continue
		}
		if p50[l.Driver.Kind] == nil {
			p50[l.Driver.Kind] = map[int]float64{}
		}
		p50[l.Driver.Kind][l.Rate] = l.Median.P50
	}
	once, have := p50[ExactlyOnce][20]
	if loop := p50[Loop][20]; have && loop > 0 {
		r.atMost("exactly-once over the loop, p50 at 20/s", once/loop, 1.5,
			fmt.Sprintf("%.2f ms over %.2f ms", once, loop))
	}
	if once, have := p50[ExactlyOnce][200]; have {
		r.atMost("exactly-once, p50 ms at 200/s", once, 10, "with the broker's defaults")
	}
}

func (r *Report) judgeWriter() {
	if r.Writer == nil {
		return
	}
	m := r.Writer.Median
	r.atMost("outbox over bare, p50 of a transaction", m.OutboxP50/m.BareP50, 1.1,
		fmt.Sprintf("%.1f µs over %.1f µs", m.OutboxP50, m.BareP50))
	r.atMost("outbox over bare, mean of a transaction", m.OutboxMean/m.BareMean, 1.1,
		fmt.Sprintf("%.1f µs over %.1f µs", m.OutboxMean, m.BareMean))
}

func (r *Report) atLeast(name string, value, limit float64, how string) {
	r.Targets = append(r.Targets, atLeast(name, value, limit, how))
}

func (r *Report) atMost(name string, value, limit float64, how string) {
	r.Targets = append(r.Targets, atMost(name, value, limit, how))
}

func atLeast(name string, value, limit float64, how string) Target {
	return target(name, "at least", value, limit, how, value >= limit)
}

func atMost(name string, value, limit float64, how string) Target {
	return target(name, "at most", value, limit, how, value <= limit)
}

func target(name, relation string, value, limit float64, how string, reached bool) Target {
	return Target{
		Name: name, Wanted: fmt.Sprintf("%s %.10g", relation, limit), Limit: limit, Value: value,
		Measured: fmt.Sprintf("%.2f (%s)", value, how), Reached: reached,
	}
}
