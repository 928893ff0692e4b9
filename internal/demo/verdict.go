package demo

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/consistency/report"
	"github.com/sluice-outbox/sluice/internal/terminal"
)

// Verdict is what the consumer found.
type Verdict struct {
	// OK: every event arrived once and in the order of its key, and the audits agree.
	OK bool `json:"ok"`
	counts
	Lost            int     `json:"lost"`
	P50             float64 `json:"p50_ms"` // from EXEC to visible
	P99             float64 `json:"p99_ms"`
	EventsPerSecond float64 `json:"events_per_second"` // from the first written to the last delivered
	Seconds         float64 `json:"seconds"`
	Shards          int     `json:"shards"`
	Relays          int     `json:"relays"`
	Delivery        string  `json:"delivery"`
	Chaos           bool    `json:"chaos"`
	Kills           int64   `json:"kills"`
	Pauses          int64   `json:"pauses"`
	Seed            uint64  `json:"seed"`
	Audit           Audited `json:"audit"`
	// Planted is the fault that was planted afterwards, if one was.
	Planted *Planted `json:"planted,omitempty"`
}

func (d *demo) verdict(began time.Time) *Verdict {
	c, p50, p99, moved := d.ledger.state()
	took := moved.Sub(began).Seconds()
	v := &Verdict{
		counts: c, Lost: d.ledger.lost(),
		P50: ms(p50), P99: ms(p99), Seconds: time.Since(d.started).Seconds(),
		Shards: d.Shards, Relays: d.Relays, Delivery: d.Delivery.String(),
		Chaos: d.Chaos, Kills: d.chaos.kills.Load(), Pauses: d.chaos.pauses.Load(), Seed: d.Seed,
	}
	if took > 0 {
		v.EventsPerSecond = float64(c.Delivered) / took
	}
	v.Audit = d.audits.state()
	v.OK = v.arrived() && v.Audit.fine(v.Written)
	return v
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// write says it to people, and where to look next.
func (v *Verdict) write(w io.Writer, colors bool) {
	p := terminal.Painter{Color: colors}
	color, word := terminal.Green, v.word()
	if !v.OK {
		color = terminal.Red
	}
	fmt.Fprintf(w, "\nVerdict: %s\n", p.Paint(color, word))
	fmt.Fprintf(w, "  written       %10d   in MULTI/EXEC with the order's state\n", v.Written)
	fmt.Fprintf(w, "  delivered     %10d   visible to a read_committed consumer\n", v.Delivered)
	for _, line := range []struct {
		name  string
		count int
	}{{"duplicates", v.Duplicates}, {"out of order", v.OutOfOrder}, {"lost", v.Lost}, {
		"unknown",
		v.Unknown,
	}} {
		if line.name == "unknown" && line.count == 0 {
			continue
		}
		count := fmt.Sprintf("%10d", line.count)
		if line.count > 0 {
			count = p.Paint(terminal.Red, count)
		}
		fmt.Fprintf(w, "  %-13s %s\n", line.name, count)
	}
	fmt.Fprintf(w, "  latency       p50 %.1f ms, p99 %.1f ms from EXEC to visible\n", v.P50, v.P99)
	fmt.Fprintf(w, "  pace          %.0f events/s, %.1f s in all\n", v.EventsPerSecond, v.Seconds)
	fmt.Fprintf(w, "  audits        %10d   %s: %d entries, %d records, %d findings", v.Audit.Runs,
		v.Audit.Verdict, v.Audit.Entries, v.Audit.Records, v.Audit.Findings)
	if v.Audit.Late > 0 {
		fmt.Fprintf(w, ", %d late", v.Audit.Late)
	}
	fmt.Fprintln(w)
	for i := range v.Audit.First {
		fmt.Fprintf(w, "                           %s\n",
			strings.Join(described(&v.Audit.First[i]), "; "))
	}
	for _, why := range v.Audit.Reasons {
		fmt.Fprintf(w, "                           %s\n", report.Printable(why))
	}
	if v.Chaos {
		fmt.Fprintf(w, "  chaos         %d killed, %d paused for longer than their session (seed %d)\n",
			v.Kills, v.Pauses, v.Seed)
	}
	if v.Planted != nil {
		v.Planted.write(w, p)
		return
	}
	v.next(w)
}

// word is the verdict in one sentence.
func (v *Verdict) word() string {
	arrived := "every event arrived once and in order"
	if !v.arrived() {
		arrived = "NOT every event arrived once and in order"
	}
	switch {
	case v.Audit.fine(v.Written):
		return arrived + ", and the audits agree"
	case v.Audit.Verdict == consistency.Drift:
		return arrived + ", and the audits say that Redis and Kafka do NOT agree"
	}
	return arrived + ", and the audits have NOT compared everything"
}

// arrived is the consumer's part of the verdict.
func (v *Verdict) arrived() bool {
	return v.Lost == 0 && v.Duplicates == 0 && v.OutOfOrder == 0 && v.Unknown == 0
}

// next says where to look next.
func (v *Verdict) next(w io.Writer) {
	fmt.Fprint(w, "\nNext\n")
	if !v.Chaos {
		fmt.Fprint(w, "  sluice demo --chaos --events 20000   the same while relays are killed and "+
			"paused\n")
	}
	fmt.Fprint(w, nextSteps)
}

const nextSteps = "" +
	`  sluice demo --plant lost             a fault on purpose, and what the audit says of it
  sluice init                          a sluice.yaml for your own Redis and Kafka
  sluice migrate apply                 lay the outbox out on them
  sluice relay                         carry its events
  docs/design.md                       why nothing is lost, doubled or out of order
`
