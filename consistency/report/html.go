package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"time"

	"github.com/sluice-outbox/sluice/consistency"
)

//go:embed report.html.tmpl
var htmlSource string

// htmlPage is the page. html/template escapes by context whatever is put into it; Printable comes
// before, for what HTML does not mind: control characters and direction marks.
var htmlPage = template.Must(template.New("report").Funcs(template.FuncMap{
	"grouped": Grouped,
	"text":    Printable,
	"from":    From,
	"utc":     func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"meaning": Meaning,
	"entries": Entries,
	"place":   Place,
	"add":     func(a, b int) int { return a + b },
}).Parse(htmlSource))

// mostInGroup bounds the findings that the page shows of one kind.
const mostInGroup = 500

// htmlReport is what the page shows.
type htmlReport struct {
	*consistency.Report
	Summary string
	Next    []Step
	Took    time.Duration
	Mark    string // of the verdict: its shape says it without colour
	Chart   *tileChart
	Groups  []htmlGroup
	Looked  []consistency.Tile // tiles that did not agree, merged as in the chart
}

type htmlGroup struct {
	Kind     consistency.Kind
	Drift    bool
	Count    int64
	Findings []*consistency.Finding
	More     int
}

var marks = map[consistency.Verdict]string{
	consistency.Agree: "✓", consistency.Drift: "✕",
	consistency.Incomplete: "?",
}

// WriteHTML writes the report as one self-contained page: no script, nothing from elsewhere. tiles
// are those of the run, as [Auditor.Tiles] gives them; without them the chart shows ranges alone.
// What comes from outside, event ids and topics for instance, is escaped.
func WriteHTML(w io.Writer, r *consistency.Report, tiles []consistency.Tile) error {
	p := htmlReport{
		Report: r, Summary: Summary(r), Next: Next(r), Mark: marks[r.Verdict],
		Took: r.Finished.Sub(r.Started).Round(time.Millisecond), Chart: newTileChart(r, tiles),
		Groups: groups(r, mostInGroup),
	}
	for _, t := range consistency.MergeTiles(append([]consistency.Tile(nil), tiles...), mostCells) {
		if !t.Agrees && len(p.Looked) < mostInGroup {
			p.Looked = append(p.Looked, t)
		}
	}
	if err := htmlPage.Execute(w, p); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// groups are the findings by kind, the gravest first, at most so many of each.
func groups(r *consistency.Report, most int) (groups []htmlGroup) {
	for _, k := range consistency.Kinds {
		if r.Counts[k] == 0 {
			continue
		}
		g := htmlGroup{Kind: k, Drift: r.Drifts(k), Count: r.Counts[k]}
		for i := range r.Findings {
			if r.Findings[i].Kind != k {
				continue
			}
			if len(g.Findings) == most {
				g.More++
				continue
			}
			g.Findings = append(g.Findings, &r.Findings[i])
		}
		groups = append(groups, g)
	}
	return groups
}
