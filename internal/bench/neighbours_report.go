package bench

import (
	"fmt"
	"io"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// NeighboursPart is the latency of the shards without trouble in a part of a run: from before the
// EXEC that commits an event to its being visible.
type NeighboursPart struct {
	Events int `json:"events"`
	// Written is below the rate where the writer could not keep up.
	Written float64 `json:"written_per_second,omitempty"`
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
	Max     float64 `json:"max_ms"`
	Usage
}

func (p *NeighboursPart) of(h *hdrhistogram.Histogram) {
	at := func(q float64) float64 { return float64(h.ValueAtQuantile(q)) / 1000 }
	p.Events, p.P50, p.P99, p.Max = int(h.TotalCount()), at(50), at(99), at(100)
}

// NeighboursRun is both runs of one round.
type NeighboursRun struct {
	Round    int            `json:"round,omitempty"`
	Calm     NeighboursPart `json:"without_trouble"`
	Troubled NeighboursPart `json:"with_trouble"`
	// CatchingUp is the part of Troubled in which the relay carried the backlog; nil: it carried none.
	CatchingUp *NeighboursPart `json:"while_catching_up,omitempty"`
	Trouble    []Trouble       `json:"trouble,omitempty"`
	Duplicates int             `json:"duplicates"`
	OutOfOrder int             `json:"out_of_order"`
}

// Ratio is latencies over those without trouble, of one round.
type Ratio struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// NeighboursReport has everything that RunNeighbours measured.
type NeighboursReport struct {
	Environment Environment `json:"environment"`
	Shards      int         `json:"shards"`
	Well        int         `json:"shards_without_trouble"`
	Rate        int         `json:"rate"` // events a second, of all shards without trouble together
	Seconds     float64     `json:"seconds"`
	Backlog     int         `json:"backlog"`
	Payload     int         `json:"payload_bytes"`
	Settings
	LeftOut string `json:"left_out,omitempty"`

	// Median has the medians of the rounds. The ratios are medians of the rounds' own, of which the
	// machine did both runs at about the same speed.
	Median       NeighboursRun   `json:"median"`
	Ratio        Ratio           `json:"with_over_without_trouble"`
	CatchUpRatio *Ratio          `json:"catching_up_over_without_trouble,omitempty"`
	Runs         []NeighboursRun `json:"runs"`
}

// judge makes the medians and ratios of the rounds. CatchUpRatio, like what it is of, is of all
// rounds or absent.
func (r *NeighboursReport) judge() {
	part := func(of func(NeighboursRun) *NeighboursPart) *NeighboursPart {
		m := &NeighboursPart{Usage: Usage{}}
		var parts []*NeighboursPart
		for _, run := range r.Runs {
			p := of(run)
			if p == nil {
				return nil
			}
			parts = append(parts, p)
			m.Events = p.Events
		}
		for into, from := range map[*float64]func(*NeighboursPart) *float64{
			&m.Written: func(p *NeighboursPart) *float64 { return &p.Written },
			&m.P50: func(p *NeighboursPart) *float64 {
				return &p.P50
			}, &m.P99: func(p *NeighboursPart) *float64 { return &p.P99 },
			&m.Max: func(p *NeighboursPart) *float64 { return &p.Max },
		} {
			*into = *medianOf(parts, from)
		}
		m.Usage = medianUsage(parts, func(p *NeighboursPart) Usage { return p.Usage })
		return m
	}
	ratio := func(of func(NeighboursRun) *NeighboursPart) (m Ratio) {
		for into, figure := range map[*float64]func(*NeighboursPart) float64{
			&m.P50: func(p *NeighboursPart) float64 {
				return p.P50
			}, &m.P99: func(p *NeighboursPart) float64 { return p.P99 },
			&m.Max: func(p *NeighboursPart) float64 { return p.Max },
		} {
			var ratios []float64
			for i := range r.Runs {
				ratios = append(ratios, figure(of(r.Runs[i]))/figure(&r.Runs[i].Calm))
			}
			*into = median(ratios)
		}
		return m
	}
	if len(r.Runs) == 0 {
		return
	}
	calm := func(n NeighboursRun) *NeighboursPart { return &n.Calm }
	troubled := func(n NeighboursRun) *NeighboursPart { return &n.Troubled }
	catching := func(n NeighboursRun) *NeighboursPart { return n.CatchingUp }
	r.Median = NeighboursRun{Calm: *part(calm), Troubled: *part(troubled), CatchingUp: part(catching)}
	r.Ratio = ratio(troubled)
	if r.Median.CatchingUp != nil {
		m := ratio(catching)
		r.CatchUpRatio = &m
	}
	for _, run := range r.Runs {
		r.Median.Duplicates += run.Duplicates
		r.Median.OutOfOrder += run.OutOfOrder
	}
}

// WriteText writes the tables that people read.
func (r *NeighboursReport) WriteText(w io.Writer) error {
	p := &printer{w: w}
	r.Environment.write(p)
	p.printf("payloads of %d bytes, topics of %d partitions; each figure is the median of %d "+
		"round(s) of two runs of %g s\n", r.Payload, r.Shards, len(r.Runs), r.Seconds)
	r.Settings.write(p)
	p.printf("\n%d of the %d shards of one relay, %d events/s of them together: from EXEC to "+
		"visible to a read_committed consumer.\n"+
		"CPU is percent of one core, the brokers' with what the consumer asks of them\n\n",
		r.Well, r.Shards, r.Rate)
	p.table(r.rows)
	if m := r.Median; m.Duplicates > 0 || m.OutOfOrder > 0 {
		p.printf("\n%d duplicates, %d out of order\n", m.Duplicates, m.OutOfOrder)
	}
	if len(r.Runs) > 0 {
		last := r.Runs[len(r.Runs)-1]
		p.printf("\nThe shards in trouble, at the end of round %d\n\n", last.Round)
		p.table(func(t io.Writer) {
			fmt.Fprintln(t, "shard\twhat\tentries\tpassed\tstate\t")
			for _, x := range last.Trouble {
				fmt.Fprintf(t, "%d\t%s\t%d\t%d\t%s\t\n", x.Shard, x.What, x.Written, x.Passed, x.summary())
			}
		})
	}
	if r.LeftOut != "" {
		p.printf("\nleft out: %s\n", r.LeftOut)
	}
	return p.err
}

// rows are the two runs side by side.
func (r *NeighboursReport) rows(t io.Writer) {
	m := r.Median
	head, parts, ratios := "\twithout trouble\twith trouble\tratio\t",
		[]*NeighboursPart{&m.Calm, &m.Troubled}, []*Ratio{nil, &r.Ratio}
	if m.CatchingUp != nil {
		head += "while the backlog lasts\tratio\t"
		parts, ratios = append(parts, m.CatchingUp), append(ratios, r.CatchUpRatio)
	}
	fmt.Fprintln(t, head)
	row := func(name string, value func(p *NeighboursPart) string, over func(*Ratio) float64) {
		fmt.Fprintf(t, "%s\t", name)
		for i, p := range parts {
			fmt.Fprintf(t, "%s\t", value(p))
			switch {
			case ratios[i] == nil:
			case over == nil:
				fmt.Fprint(t, "\t")
			default:
				fmt.Fprintf(t, "%.2f\t", over(ratios[i]))
			}
		}
		fmt.Fprintln(t)
	}
	decimals := func(v float64, n int) string { return figure(&v, n) }
	row("events", func(p *NeighboursPart) string { return fmt.Sprint(p.Events) }, nil)
	row("p50 ms", func(p *NeighboursPart) string {
		return decimals(p.P50, 2)
	}, func(x *Ratio) float64 { return x.P50 })
	row("p99 ms", func(p *NeighboursPart) string {
		return decimals(p.P99, 2)
	}, func(x *Ratio) float64 { return x.P99 })
	row("max ms", func(p *NeighboursPart) string {
		return decimals(p.Max, 2)
	}, func(x *Ratio) float64 { return x.Max })
	// What the part with the backlog took by itself is not measured.
	parts, ratios = parts[:2], ratios[:2]
	row("written/s", func(p *NeighboursPart) string { return decimals(p.Written, 0) }, nil)
	row("own CPU %", func(p *NeighboursPart) string { return figure(p.CPU, 1) }, nil)
	row("broker CPU %", func(p *NeighboursPart) string { return known(p.BrokerCPU, 1) }, nil)
	row("transactions/s", func(p *NeighboursPart) string { return figure(p.Transactions, 1) }, nil)
}

// summary is a shard's state in few words.
func (x Trouble) summary() string {
	parts := []string{string(x.State)}
	if x.CaughtUp != nil {
		parts = append(parts, fmt.Sprintf("caught up within %.1f s", *x.CaughtUp))
	}
	if x.DeadLetters > 0 {
		parts = append(parts, fmt.Sprintf("%d dead letters", x.DeadLetters))
	}
	if x.Reason != "" {
		parts = append(parts, x.Reason)
	}
	// A reason can be a long chain of errors; JSON has all of it.
	const widest = 120
	text := []rune(strings.Join(parts, "; "))
	if len(text) > widest {
		text = append(text[:widest-1], '…')
	}
	return string(text)
}
