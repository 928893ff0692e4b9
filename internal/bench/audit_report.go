package bench

import (
	"fmt"
	"io"
)

// AuditRun is one reading of everything, by an audit or of one side alone. A nil figure could not
// be measured.
type AuditRun struct {
	Round    int      `json:"round,omitempty"`
	Rate     float64  `json:"entries_per_second"`
	CPU      *float64 `json:"own_cpu_us"` // microseconds an entry
	RedisCPU *float64 `json:"redis_cpu_us"`
	Peak     int64    `json:"peak_memory_bytes"`
}

// AuditResult is the runs of an audit or a reader and their medians; the memory is the most of all.
type AuditResult struct {
	Driver Driver     `json:"driver"`
	Median AuditRun   `json:"median"`
	Runs   []AuditRun `json:"runs"`
}

// AuditCost is what audits beside it cost the relay.
type AuditCost struct {
	Driver   Driver        `json:"driver"`
	Baseline float64       `json:"entries_per_second"`
	Beside   []AuditBeside `json:"beside"`
}

// AuditBeside is the relay's speed while audits run one after the other.
type AuditBeside struct {
	Kind Kind    `json:"audit"`
	Rate float64 `json:"entries_per_second"`
	// Kept is the share of its speed that the relay keeps, the median of the rounds' own in Runs.
	Kept float64   `json:"kept"`
	Runs []float64 `json:"kept_by_round"`
	// Cores is how many of the processor's the audits kept busy by themselves.
	Cores float64 `json:"audit_cores"`
}

// AuditReport has everything that RunAudit measured.
type AuditReport struct {
	Environment Environment `json:"environment"`
	Entries     int         `json:"entries"`
	Payload     int         `json:"payload_bytes"`
	Rounds      int         `json:"rounds"`
	Backlog     int         `json:"backlog"`

	// Effort is that of GentleAudit; see consistency.Config.
	Effort  float64       `json:"gentle_effort"`
	Speed   []AuditResult `json:"speed"`
	Cost    *AuditCost    `json:"cost,omitempty"`
	Targets []Target      `json:"targets,omitempty"`
}

// What is wanted of an audit: entries a second, resident bytes, and the share of its throughput
// that the relay keeps.
const (
	wantedAuditRate   = 200_000
	wantedAuditMemory = 256 << 20
	wantedKept        = 0.9
)

func (r *AuditReport) judge() {
	for _, s := range r.Speed {
		if s.Driver.Kind != Audit {
			continue
		}
		m := s.Median
		r.Targets = append(r.Targets,
			atLeast(fmt.Sprintf("audit over %d shard(s), entries/s", s.Driver.Shards), m.Rate,
				wantedAuditRate, "with both servers on this machine"),
			atMost(fmt.Sprintf("audit over %d shard(s), MiB", s.Driver.Shards), float64(m.Peak)/(1<<20),
				wantedAuditMemory>>20, "resident, the most of all rounds"))
	}
	if r.Cost == nil {
		return
	}
	for _, x := range r.Cost.Beside {
		if x.Kind == GentleAudit {
			r.Targets = append(r.Targets,
				atLeast("relay beside a continuous audit over the relay alone, entries/s", x.Kept, wantedKept,
					fmt.Sprintf("%.0f over %.0f", x.Rate, r.Cost.Baseline)))
		}
	}
}

// both is how many entries a second can be read from one server and then from the other; 0: not
// known.
func (r *AuditReport) both(shards int) float64 {
	var redis, kafka float64
	for _, s := range r.Speed {
		switch s.Driver {
		case Driver{RedisBaseline, shards}:
			redis = s.Median.Rate
		case Driver{KafkaRead, shards}:
			kafka = s.Median.Rate
		}
	}
	if redis == 0 || kafka == 0 {
		return 0
	}
	return 1 / (1/redis + 1/kafka)
}

// WriteText writes the tables that people read.
func (r *AuditReport) WriteText(w io.Writer) error {
	p := &printer{w: w}
	r.Environment.write(p)
	p.printf("%d entries with payloads of %d bytes; each figure is the median of %d round(s), all "+
		"taking turns\n\n", r.Entries, r.Payload, r.Rounds)
	p.table(func(t io.Writer) {
		fmt.Fprintln(t, "\tshards\tentries/s\town CPU µs\tRedis CPU µs\tpeak MiB\t")
		for _, s := range r.Speed {
			m := s.Median
			fmt.Fprintf(t, "%s\t%d\t%.0f\t%s\t%s\t%d\t\n", s.Driver.title(), s.Driver.Shards, m.Rate,
				figure(m.CPU, 2), figure(m.RedisCPU, 2), m.Peak>>20)
			if both := r.both(s.Driver.Shards); s.Driver.Kind == KafkaRead && both > 0 {
				fmt.Fprintf(t, "the one, then the other\t%d\t%.0f\t-\t-\t-\t\n", s.Driver.Shards, both)
			}
		}
	})
	if r.Cost != nil {
		p.printf("\nThe relay, %s over %d shard(s), draining %d entries\n\n", r.Cost.Driver.Kind,
			r.Cost.Driver.Shards, r.Backlog)
		p.table(func(t io.Writer) {
			fmt.Fprintln(t, "\tentries/s\tkept\taudit's cores\t")
			fmt.Fprintf(t, "alone\t%.0f\t-\t-\t\n", r.Cost.Baseline)
			for _, x := range r.Cost.Beside {
				fmt.Fprintf(t, "beside %s, without a pause\t%.0f\t%.0f%%\t%.2f\t\n",
					Driver{Kind: x.Kind}.title(), x.Rate, 100*x.Kept, x.Cores)
			}
		})
	}
	writeTargets(p, r.Targets)
	return p.err
}
