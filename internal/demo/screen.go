package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-outbox/sluice/internal/terminal"
)

// show keeps Out up to date until ctx ends; the channel is closed when it has stopped.
func (d *demo) show(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	every := time.Second
	if d.Terminal {
		every = 150 * time.Millisecond
	}
	go func() {
		defer close(done)
		s := screen{demo: d, Painter: terminal.Painter{Color: d.Color && d.Terminal}, at: d.started}
		s.head()
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				s.draw(time.Now())
				return
			case now := <-tick.C:
				s.draw(now)
			}
		}
	}()
	return done
}

// screen draws what passes: in a terminal the same few lines again and again, elsewhere one line
// each time.
type screen struct {
	demo *demo
	terminal.Painter
	lines int // drawn before

	at      time.Time
	before  counts
	in, out float64 // events a second
}

func (s *screen) head() {
	o := s.demo.Options
	relays := "1 relay"
	if o.Relays > 1 {
		relays = fmt.Sprintf("%d relays", o.Relays)
	}
	fmt.Fprintf(o.Out, "%s  in-memory Redis and Kafka, %d shards, %s, %s\n",
		s.Paint(terminal.Bold, "sluice demo"), o.Shards, relays, o.Delivery)
	if o.Events == 0 {
		fmt.Fprintln(o.Out, "until Ctrl-C; then the verdict")
	}
	fmt.Fprintln(o.Out)
}

func (s *screen) draw(now time.Time) {
	c, p50, p99, _ := s.demo.ledger.state()
	if took := now.Sub(s.at).Seconds(); took > 0.05 {
		s.in = s.blend(s.in, float64(c.Written-s.before.Written)/took)
		s.out = s.blend(s.out, float64(c.Delivered-s.before.Delivered)/took)
	}
	s.at, s.before = now, c
	if !s.demo.Terminal {
		s.line(c, p50, p99)
		return
	}
	lines := s.block(c, p50, p99)
	var b strings.Builder
	if s.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.lines) // up to where they began
	}
	for _, l := range lines {
		b.WriteString("\r\x1b[2K" + l + "\n")
	}
	b.WriteString("\x1b[J") // fewer relays than before leave a line
	s.lines = len(lines)
	fmt.Fprint(s.demo.Out, b.String())
}

// blend keeps figures that are drawn often from flickering.
func (s *screen) blend(old, now float64) float64 {
	if !s.demo.Terminal || old == 0 {
		return now
	}
	return old*0.8 + now*0.2
}

// block is the lines of a terminal, none wider than 78 columns, so that none wraps.
func (s *screen) block(c counts, p50, p99 time.Duration) []string {
	lines := []string{
		fmt.Sprintf("%s %9d written    %8.0f/s   %s", s.Paint(terminal.Cyan, "shop "), c.Written, s.in,
			s.demo.shop.latest()),
		fmt.Sprintf("%s %9d delivered  %8.0f/s   p50 %s  p99 %s", s.Paint(terminal.Cyan, "kafka"),
			c.Delivered, s.out, short(p50), short(p99)),
		fmt.Sprintf("%s %9d on their way   %s", s.Paint(terminal.Cyan, "check"),
			max(0, c.Written-c.Delivered), s.faults(c)),
		s.audited(s.demo.audits.state()),
	}
	for _, m := range s.demo.fleet.state() {
		state := s.Paint(terminal.Dim, "waits for shards")
		switch {
		case m.frozen:
			state = s.Paint(terminal.Yellow, "paused")
		case len(m.shards) > 0:
			state = s.Paint(terminal.Green, "runs") + " " + shardList(m.shards)
		}
		lines = append(lines, fmt.Sprintf("%-9.9s %s", m.name, state))
	}
	if s.demo.Chaos {
		lines = append(lines, fmt.Sprintf("%s %d killed, %d paused   %s",
			s.Paint(terminal.Yellow, "chaos"),
			s.demo.chaos.kills.Load(), s.demo.chaos.pauses.Load(), s.demo.chaos.latest()))
	}
	return lines
}

// shardList names shards, as long as they have room in a line.
func shardList(shards []int) string {
	if len(shards) > 12 {
		return fmt.Sprintf("%d shards", len(shards))
	}
	return "shards " + strings.Trim(fmt.Sprint(shards), "[]")
}

func (s *screen) faults(c counts) string {
	text := fmt.Sprintf("%d duplicates, %d out of order", c.Duplicates, c.OutOfOrder)
	if c.Duplicates+c.OutOfOrder+c.Unknown > 0 {
		return s.Paint(terminal.Red, text)
	}
	return s.Paint(terminal.Green, text)
}

// audited is the line of the audits.
func (s *screen) audited(a Audited) string {
	word := s.Paint(terminal.Yellow, a.word())
	switch a.word() {
	case "agrees":
		word = s.Paint(terminal.Green, "agrees")
	case "drift":
		word = s.Paint(terminal.Red, "drift")
	}
	return fmt.Sprintf("%s %9d compared      %s, %d findings (audit %d)",
		s.Paint(terminal.Cyan, "audit"), a.Entries, word, a.Findings, a.Runs)
}

// line is everything in one.
func (s *screen) line(c counts, p50, p99 time.Duration) {
	text := fmt.Sprintf(
		"%3.0fs  written %d  delivered %d  %.0f/s  p50 %s  p99 %s  duplicates %d  out of order %d",
		time.Since(s.demo.started).Seconds(), c.Written, c.Delivered, s.out, short(p50), short(
			p99), c.Duplicates, c.OutOfOrder)
	a := s.demo.audits.state()
	text += fmt.Sprintf("  last audit %s: %d entries, %d findings", a.word(), a.Entries, a.Findings)
	if s.demo.Chaos {
		text += fmt.Sprintf("  killed %d  paused %d", s.demo.chaos.kills.Load(),
			s.demo.chaos.pauses.Load())
	}
	fmt.Fprintln(s.demo.Out, text)
}

// short is a latency in at most seven columns.
func short(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.1fms", ms(d))
	}
	return fmt.Sprintf("%.0fs", d.Seconds())
}
