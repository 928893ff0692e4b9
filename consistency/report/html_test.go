package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/outbox"
)

var update = flag.Bool("update", false, "write the golden files")

func page(t *testing.T, r *consistency.Report, tiles []consistency.Tile) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteHTML(&b, r, tiles); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestHTMLReport(t *testing.T) {
	t.Parallel()
	r, tiles := sampleReport()
	got := page(t, r, tiles)
	file := filepath.Join("testdata", "report.html")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is another page now (go test -update writes it); look at it in a browser", file)
	}
}

// Nothing from outside is more than text, and nothing is loaded from elsewhere.
func TestHTMLReportIsSelfContained(t *testing.T) {
	t.Parallel()
	r, tiles := sampleReport()
	got := page(t, r, tiles)
	for _, bad := range []string{
		"<script", "<img", "<b>x", "<i>refund", "\x1b", "\u202e",
		"ZgotmplZ",
	} {
		if strings.Contains(got, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if head, _, _ := strings.Cut(got, "<body"); strings.Contains(head, "url(") ||
		strings.Contains(head, "@import") || strings.Contains(head, "<link") {
		t.Error("the styles load something")
	}
	wellFormed(t, got)
	for _, s := range []cellState{
		cellAgrees, cellLooked, cellDrift, cellUnknown, cellPending,
		cellUnkept,
	} {
		if !strings.Contains(got, `<symbol id="`+string(s)+`"`) ||
			!strings.Contains(got, `href="#`+string(s)+`" x=`) {
			t.Errorf("the chart has no cell that %s, or no shape for it", s)
		}
	}
}

// wellFormed reads the body of the page as XML, and wants no attribute in it that refers to
// anything outside.
func wellFormed(t *testing.T, page string) {
	t.Helper()
	body := page[strings.Index(page, "<body"):strings.Index(page, "</html>")]
	d := xml.NewDecoder(strings.NewReader(body))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		element, _ := token.(xml.StartElement)
		for _, x := range element.Attr {
			name := strings.ToLower(x.Name.Local)
			if name == "src" || strings.HasPrefix(name, "on") ||
				name == "href" && !strings.HasPrefix(x.Value, "#") {
				t.Errorf("<%s %s=%q>", element.Name.Local, name, x.Value)
			}
		}
	}
}

func TestHTMLReportOfNothing(t *testing.T) {
	t.Parallel()
	r := newReport("orders", 0)
	r.Verdict, r.Incomplete = consistency.Incomplete, []string{"kafka: no broker answers"}
	got := page(t, r, nil)
	if !strings.Contains(got, "Nothing was compared.") || !strings.Contains(got, "no broker answers") {
		t.Error(got)
	}
	wellFormed(t, got)
}

// The page is bounded whatever a run has found.
func TestHTMLReportIsBounded(t *testing.T) {
	t.Parallel()
	r := newReport("orders", 3)
	var tiles []consistency.Tile
	for shard := range 64 {
		r.Range = append(r.Range, consistency.ShardRange{
			Shard: shard, To: outbox.EntryID{MS: 5000},
			Entries: 5000 * 8192,
		})
		for i := range uint64(5000) {
			tiles = append(tiles, consistency.Tile{
				Shard: shard, After: outbox.EntryID{MS: i},
				To: outbox.EntryID{MS: i + 1}, Entries: 8192, Records: 8192, Agrees: i != 77,
			})
		}
	}
	for i := range uint64(20_000) {
		add(r, consistency.Finding{
			Kind: consistency.Lost, Entry: outbox.EntryID{MS: i / 8},
			Count: 1, Detail: "no committed record of this entry",
		})
	}
	r.Verdict = consistency.Drift
	got := page(t, r, tiles)
	if n := len(got); n > 4<<20 {
		t.Errorf("%d bytes", n)
	}
	if !strings.Contains(got, "and 9500 more") ||
		!strings.Contains(got, "a cell stands for several tiles") {
		t.Error("the page does not say that it shows less than there is")
	}
}
