package consistency

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"time"
)

//go:embed report.html.tmpl
var htmlSource string

// htmlPage is the page. html/template escapes by context whatever is put into it; Printable comes before, for what
// HTML does not mind: control characters and direction marks.
var htmlPage = template.Must(template.New("report").Funcs(template.FuncMap{
	"grouped": Grouped,
	"text":    Printable,
	"from":    From,
	"utc":     func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"add":     func(a, b int) int { return a + b },
}).Parse(htmlSource))

// mostInGroup bounds the findings that the page shows of one kind.
const mostInGroup = 500

// htmlReport is what the page shows.
type htmlReport struct {
	*Report
	Took    time.Duration
	Mark    string // of the verdict: its shape says it without colour
	Picture *picture
	Groups  []htmlGroup
	Looked  []Tile // tiles that did not agree, merged as in the picture
}

type htmlGroup struct {
	Kind     Kind
	Drift    bool
	Count    int64
	Findings []*Finding
	More     int
}

// WriteHTML writes the report as one self-contained page: no script, nothing from elsewhere. tiles are those of the run, as
// [Auditor.Tiles] gives them; without them the picture shows ranges alone. What comes from outside, event ids and topics for instance, is
// escaped.
func (r *Report) WriteHTML(w io.Writer, tiles []Tile) error {
	p := htmlReport{Report: r, Took: r.Finished.Sub(r.Started).Round(time.Millisecond), Picture: r.picture(tiles), Groups: r.groups(mostInGroup)}
	p.Mark = map[Verdict]string{Agree: "✓", Drift: "✕", Incomplete: "?"}[r.Verdict]
	for _, t := range mosaic(append([]Tile(nil), tiles...), mostCells) {
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
func (r *Report) groups(most int) (groups []htmlGroup) {
	for _, k := range Kinds {
		if r.Counts[k] == 0 {
			continue
		}
		g := htmlGroup{Kind: k, Drift: r.drifts(k), Count: r.Counts[k]}
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
