package migrations

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteTo writes the plan for people. The text may change between versions; programs use the JSON.
func (p Plan) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	switch {
	case len(p.Refused) > 0:
		fmt.Fprintf(&b, "outbox %s: refused\n", p.Outbox)
	case p.Empty():
		fmt.Fprintf(&b, "outbox %s: version %d, nothing to do\n", p.Outbox, p.From)
	case p.From == p.To:
		fmt.Fprintf(&b, "outbox %s: version %d, to repair\n", p.Outbox, p.From)
	default:
		fmt.Fprintf(&b, "outbox %s: version %d -> %d\n", p.Outbox, p.From, p.To)
	}
	if len(p.Refused) == 0 {
		p.writeSteps(&b)
	}
	writeFindings(&b, p.Refused)
	writeNotes(&b, p.Notes)
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

// writeSteps writes a block for each version: what exists as one line, each change as a line of its
// own.
func (p Plan) writeSteps(b *strings.Builder) {
	for _, version := range Versions() {
		if version.Number > p.To {
			break
		}
		if !slices.ContainsFunc(p.Steps, func(s Step) bool { return s.Version == version.Number }) {
			continue // reached, and it has no part on a server
		}
		fmt.Fprintf(b, "\nversion %d: %s\n", version.Number, version.Summary)
		kept := 0
		lines := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
		for _, s := range p.Steps {
			switch {
			case s.Version != version.Number:
			case s.Action == Keep:
				kept++
			default:
				fmt.Fprintf(lines, "  %s\t%s\t%s\t%s\n", s.Action, s.Kind, s.Name, s.Detail)
			}
		}
		if kept > 0 {
			fmt.Fprintf(b, "  exists  %s as wanted\n", count(kept, "part"))
		}
		_ = lines.Flush() // a strings.Builder does not fail
	}
}

// WriteTo writes the status for people. The text may change between versions; programs use the
// JSON.
func (s Status) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "outbox   %s\n", s.Outbox)
	switch {
	case s.Version < s.Newest:
		fmt.Fprintf(&b, "version  %d (newest %d: run 'sluice migrate apply')\n", s.Version, s.Newest)
	default:
		fmt.Fprintf(&b, "version  %d (newest %d)\n", s.Version, s.Newest)
	}
	if s.Shards > 0 {
		fmt.Fprintf(&b, "shards   %d\nformat   %d\n", s.Shards, s.Format)
	}
	if !s.Created.IsZero() {
		fmt.Fprintf(&b, "created  %s\n", s.Created.Format(time.RFC3339))
	}
	if len(s.Drift) == 0 {
		b.WriteString("drift    none\n")
	} else {
		fmt.Fprintf(&b, "drift    %s\n", count(len(s.Drift), "finding"))
	}
	writeFindings(&b, s.Drift)
	writeNotes(&b, s.Notes)
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

func writeFindings(b *strings.Builder, findings []Finding) {
	for _, f := range findings {
		fmt.Fprintf(b, "\n%s\n  %s\n", f, f.Fix)
	}
}

func writeNotes(b *strings.Builder, notes []string) {
	for _, n := range notes {
		fmt.Fprintf(b, "\nnote: %s\n", n)
	}
}
