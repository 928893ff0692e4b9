package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/consistency/report"
)

// auditView is how a report is shown.
type auditView struct {
	long bool
	html string
}

func (v *auditView) flags(flags *pflag.FlagSet) {
	flags.BoolVar(&v.long, "long", false,
		"show all findings with their evidence, and the tiles that did not agree")
	flags.StringVar(&v.html, "html", "", "write the report to `FILE` too, as one self-contained page")
}

// fullReport is a report in JSON, with its tiles if it is long.
type fullReport struct {
	Summary string `json:"summary"`
	*consistency.Report
	Next     []report.Step      `json:"next"`
	TileList []consistency.Tile `json:"tile_list,omitempty"`
}

// showReport prints a report, and writes the page if one is wanted.
func (a *app) showReport(ctx context.Context, auditor *consistency.Auditor, r *consistency.Report,
	v *auditView,
) error {
	var tiles []consistency.Tile
	var failed error
	if v.long || v.html != "" {
		// If its tiles cannot be read the report is shown without them, and says so.
		if tiles, failed = auditor.Tiles(ctx, r); failed != nil {
			failed = fmt.Errorf("the tiles of the report cannot be read: %w", failed)
		}
	}
	full := fullReport{Summary: report.Summary(r), Report: r, Next: report.Next(r)}
	if v.long {
		full.TileList = tiles
	}
	err := a.print(full, func(p *page) {
		if v.long {
			p.longReport(r, tiles)
		} else {
			p.shortReport(r)
		}
	})
	if err == nil && v.html != "" {
		err = writePage(v.html, r, tiles)
	}
	return errors.Join(err, failed)
}

// checkPage finds out before a long audit whether its page can be written.
func (v *auditView) checkPage() error {
	if v.html == "" {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(v.html), ".sluice-audit-*")
	if err != nil {
		return usagef("--html %s: it cannot be written: %w", v.html, err)
	}
	if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
		return usagef("--html %s: %w", v.html, err)
	}
	if info, err := os.Stat(v.html); err == nil && info.IsDir() {
		return usagef("--html %s: it is a directory; name a file in it", v.html)
	}
	return nil
}

// writePage writes the page whole or not at all; an earlier one is replaced.
func writePage(file string, r *consistency.Report, tiles []consistency.Tile) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".sluice-audit-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails when it has its name, which is what is wanted
	if err := errors.Join(report.WriteHTML(f, r, tiles), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

// fewFindings is how many findings a short report prints.
const fewFindings = 10

var verdictStyles = map[consistency.Verdict]style{
	consistency.Agree: green, consistency.Drift: red,
	consistency.Incomplete: yellow,
}

// reportWidth is where sentences are broken. Evidence and tables are not broken.
const reportWidth = 110

func (p *page) reportHead(r *consistency.Report) {
	word := string(r.Verdict)
	p.printf("%s  %s\n", p.paint(verdictStyles[r.Verdict], word),
		wrapped(report.Summary(r), len(word)+2))
	what := fmt.Sprintf("audit %d", r.Run)
	switch {
	case r.Outside:
		what = "audit from outside"
	case r.Run == 0:
		what = "audit"
	case r.Full:
		what += " (full)"
	}
	p.printf("%s of %s, finished %s after %s: %s entries, %s records", what, r.Outbox,
		r.Finished.UTC().Format("2006-01-02 15:04:05 UTC"),
		r.Finished.Sub(r.Started).Round(time.Millisecond), report.Grouped(r.Entries), report.Grouped(
			r.Records))
	if r.DeadLetters == 1 {
		p.printf(", 1 dead letter")
	} else if r.DeadLetters > 1 {
		p.printf(", %s dead letters", report.Grouped(r.DeadLetters))
	}
	if r.Repaired > 0 {
		p.printf(", %s sent again by a repair", report.Grouped(r.Repaired))
	}
	p.printf("\n")
	if len(r.Range) == 0 {
		return
	}
	t := newTable("SHARD", "FROM", "UP TO", "ENTRIES", "RECORDS", "PENDING", "COVERED SINCE")
	for _, s := range r.Range {
		t.row(strconv.Itoa(s.Shard), report.From(s.After), s.To.String(),
			strconv.FormatInt(s.Entries, 10), strconv.FormatInt(s.Records, 10),
			strconv.FormatInt(s.Pending, 10), report.From(s.Since))
	}
	p.printf("\n")
	p.table(t)
	p.printf("\nCoverage is %s.\n", report.Coverage(r))
}

// reportCounts is the line with the counts by kind.
func (p *page) reportCounts(r *consistency.Report) {
	p.printf("\n%s", p.paint(bold, "Findings:"))
	separator := " "
	for _, k := range consistency.Kinds {
		if n := r.Counts[k]; n > 0 {
			p.printf("%s%s", separator, p.paint(kindStyle(k), report.Grouped(n)+" "+string(k)))
			separator = ", "
		}
	}
	p.printf("\n")
	if r.Truncated {
		p.printf("The report holds the first %d findings; these numbers are of all.\n", len(r.Findings))
	}
}

func kindStyle(k consistency.Kind) style {
	if k.Drift() {
		return red
	}
	return yellow
}

// shortReport is what a person reads at a glance.
func (p *page) shortReport(r *consistency.Report) {
	p.reportHead(r)
	if len(r.Findings) > 0 {
		p.reportCounts(r)
		t := newTable("KIND", "SHARD", "ENTRY", "EVENT", "AT", "DETAIL")
		for i := range r.Findings[:min(fewFindings, len(r.Findings))] {
			f := &r.Findings[i]
			t.row(cell{string(f.Kind), kindStyle(f.Kind)}, strconv.Itoa(f.Shard), report.Entries(f),
				report.Printable(f.ID), report.Place(f), report.Printable(f.Detail))
		}
		p.table(t)
		if more := len(r.Findings) - fewFindings; more > 0 {
			p.printf("… and %d more\n", more)
		}
	}
	p.notCompared(r)
	p.next(r)
	if r.Run > 0 && (len(r.Findings) > 0 || len(r.Incomplete) > 0) {
		p.printf("- %-42s all findings, with their evidence\n",
			fmt.Sprintf("sluice audit show %d --long", r.Run))
		p.printf("- %-42s the same as a page\n",
			fmt.Sprintf("sluice audit show %d --html audit-%d.html", r.Run, r.Run))
	}
}

// longReport has the evidence.
func (p *page) longReport(r *consistency.Report, tiles []consistency.Tile) {
	p.reportHead(r)
	if len(r.Findings) > 0 {
		p.reportCounts(r)
	}
	for _, k := range consistency.Kinds {
		if r.Counts[k] == 0 {
			continue
		}
		p.printf("\n%s  %s\n", p.paint(kindStyle(k), string(k)), wrapped(report.Meaning(k), len(k)+2))
		for i := range r.Findings {
			f := &r.Findings[i]
			if f.Kind != k {
				continue
			}
			what := "entry"
			if !f.Last.IsZero() {
				what = "entries,"
			}
			p.printf("  shard %d, %s %s", f.Shard, what, report.Entries(f))
			if f.ID != "" {
				p.printf(", event %s", report.Printable(f.ID))
			}
			if at := report.Place(f); at != "" {
				p.printf(", at %s", at)
			}
			p.printf("\n    %s\n", report.Printable(f.Detail))
		}
	}
	p.printf("\n%s %s compared, %s by their digests alone\n", p.paint(bold, "Tiles:"),
		report.Grouped(r.Tiles), report.Grouped(r.Tiles-r.TilesLooked))
	t := newTable("SHARD", "FROM", "UP TO", "ENTRIES", "RECORDS", "DIGEST OF ENTRIES",
		"DIGEST OF RECORDS")
	for _, x := range tiles {
		if x.Agrees {
			continue
		}
		got := "the same"
		if x.Got != nil {
			got = x.Got.String()
		}
		t.row(strconv.Itoa(x.Shard), report.From(x.After), x.To.String(),
			strconv.FormatInt(x.Entries, 10), strconv.FormatInt(x.Records, 10), x.Digest.String(), got)
	}
	if len(t.rows) > 0 {
		p.printf("These were compared entry by entry:\n")
		p.table(t)
	}
	p.notCompared(r)
	p.next(r)
}

func (p *page) notCompared(r *consistency.Report) {
	if len(r.Incomplete) == 0 {
		return
	}
	p.printf("\n%s\n", p.paint(bold, "Not compared:"))
	for _, why := range r.Incomplete {
		p.printf("- %s\n", wrapped(report.Printable(why), 2))
	}
}

func (p *page) next(r *consistency.Report) {
	steps := report.Next(r)
	if len(steps) == 0 && len(r.Findings) == 0 && len(r.Incomplete) == 0 {
		return
	}
	p.printf("\n%s\n", p.paint(bold, "Next:"))
	for _, s := range steps {
		p.printf("- %s\n", wrapped(s.What+": "+s.Do, 2))
	}
}

// wrapped breaks a text at its spaces, and indents all but its first line.
func wrapped(text string, indent int) string {
	var b strings.Builder
	column := indent
	for i, word := range strings.Fields(text) {
		n := len([]rune(word))
		switch {
		case i > 0 && column+1+n > reportWidth:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		case i > 0:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String()
}
