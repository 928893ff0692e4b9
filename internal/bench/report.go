package bench

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Report has everything that was measured.
type Report struct {
	Environment Environment `json:"environment"`
	Entries     int         `json:"entries"`
	Payload     int         `json:"payload_bytes"`
	Rounds      int         `json:"rounds"`
	Batch       int         `json:"loop_batch"`
	// Partitions of each topic that events go to.
	Partitions int `json:"topic_partitions"`
	Settings

	Throughput []ThroughputResult `json:"throughput,omitempty"`
	Latency    []LatencyResult    `json:"latency,omitempty"`
	Writer     *WriterResult      `json:"writer,omitempty"`
	Targets    []Target           `json:"targets,omitempty"`
}

// WriteText writes the tables that people read.
func (r *Report) WriteText(w io.Writer) error {
	p := &printer{w: w}
	r.Environment.write(p)
	p.printf("payloads of %d bytes, topics of %d partitions; each figure is the median of %d "+
		"round(s), the drivers taking turns\n", r.Payload, r.Partitions, r.Rounds)
	r.Settings.write(p)
	if len(r.Throughput) > 0 {
		r.writeThroughput(p)
	}
	if len(r.Latency) > 0 {
		r.writeLatency(p)
	}
	if r.Writer != nil {
		r.writeWriter(p)
	}
	writeTargets(p, r.Targets)
	return p.err
}

func (e *Environment) write(p *printer) {
	p.printf("%s, %s, %s, %d cores, %s/%s\n", e.Redis, e.Kafka, e.Go, e.Cores, e.OS, e.Arch)
}

// Settings are those of the relay that are not its defaults.
type Settings struct {
	Lanes  int     `json:"relay_lanes,omitempty"`
	Linger float64 `json:"relay_linger_ms,omitempty"`
}

func (o Options) settings() Settings { return Settings{Lanes: o.Lanes, Linger: ms(o.Linger)} }

func (s Settings) write(p *printer) {
	if s.Lanes != 0 {
		p.printf("relay.lanes is %d\n", s.Lanes)
	}
	if s.Linger != 0 {
		p.printf("relay.linger is %g ms\n", s.Linger)
	}
}

func (r *Report) writeThroughput(p *printer) {
	p.printf("\nThroughput: a backlog of %d entries, visible to a read_committed consumer\n\n",
		r.Entries)
	p.table(func(t io.Writer) {
		fmt.Fprintln(t, "\tshards\tentries/s\town CPU µs\tRedis CPU µs\tAOF bytes\tpeak MiB\torder "+
			"kept\tduplicates\t")
		for _, c := range r.Throughput {
			m := c.Median
			order, duplicates := "-", "-"
			if m.OrderKnown {
				order, duplicates = "yes", fmt.Sprint(m.Duplicates)
				if m.OutOfOrder > 0 {
					order = fmt.Sprintf("no: %d", m.OutOfOrder)
				}
			}
			fmt.Fprintf(t, "%s\t%d\t%.0f\t%s\t%s\t%s\t%d\t%s\t%s\t\n", c.Driver.title(), c.Driver.Shards,
				m.Rate,
				figure(m.CPU, 2), figure(m.RedisCPU, 2), figure(m.FileBytes, 2), m.Peak>>20, order, duplicates)
		}
	})
}

func (r *Report) writeLatency(p *printer) {
	p.printf("\nLatency: from EXEC to visible to a read_committed consumer. Events/s are of all " +
		"shards together; CPU is percent of one core,\nthe brokers' with what the consumer asks of " +
		"them\n\n")
	p.table(func(t io.Writer) {
		fmt.Fprintln(t, "\tshards\tevents/s\tp50 ms\tp99 ms\tmax ms\town CPU %\tbroker CPU "+
			"%\ttransactions/s\tremarks\t")
		for _, l := range r.Latency {
			m := l.Median
			var remarks []string
			if m.Written < 0.95*float64(l.Rate) {
				remarks = append(remarks, fmt.Sprintf("the writer reached %.0f/s", m.Written))
			}
			if m.Duplicates > 0 || m.OutOfOrder > 0 {
				remarks = append(remarks, fmt.Sprintf("%d duplicates, %d out of order", m.Duplicates,
					m.OutOfOrder))
			}
			fmt.Fprintf(t, "%s\t%d\t%d\t%.2f\t%.2f\t%.2f\t%s\t%s\t%s\t%s\t\n", l.Driver.title(),
				l.Driver.Shards, l.Rate, m.P50, m.P99, m.Max,
				figure(m.CPU, 1), known(m.BrokerCPU, 1), figure(m.Transactions, 1), strings.Join(remarks, "; "))
		}
	})
}

func (r *Report) writeWriter(p *printer) {
	m := r.Writer.Median
	p.printf("\nWriter: one transaction after the other, %d of each kind a round, taking turns\n\n",
		r.Writer.Transactions)
	p.table(func(t io.Writer) {
		fmt.Fprintln(t, "\tp50 µs\tmean µs\t")
		fmt.Fprintf(t, "bare MULTI, SET, XADD, EXEC\t%.1f\t%.1f\t\n", m.BareP50, m.BareMean)
		fmt.Fprintf(t, "outbox.Writer\t%.1f\t%.1f\t\n", m.OutboxP50, m.OutboxMean)
	})
}

func writeTargets(p *printer, targets []Target) {
	if len(targets) == 0 {
		return
	}
	p.printf("\nWanted\n\n")
	p.table(func(t io.Writer) {
		for _, g := range targets {
			verdict := "not reached"
			if g.Reached {
				verdict = "reached"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t\n", g.Name, g.Wanted, g.Measured, verdict)
		}
	})
}

// figure writes a value, or a dash where there is none.
func figure(v *float64, decimals int) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.*f", decimals, *v)
}

// known writes a value that everything has, or that nobody knows it.
func known(v *float64, decimals int) string {
	if v == nil {
		return "unknown"
	}
	return figure(v, decimals)
}

// printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

func (p *printer) table(rows func(io.Writer)) {
	t := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', 0)
	rows(t)
	if err := t.Flush(); p.err == nil {
		p.err = err
	}
}
