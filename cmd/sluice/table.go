package main

import (
	"strings"
	"unicode/utf8"

	"github.com/sluice-outbox/sluice/internal/terminal"
)

// cell is a text of a table with its style, which takes no width.
type cell struct {
	text  string
	style style
}

// table prints rows in aligned columns. The last column is not padded.
type table struct {
	head []string
	rows [][]cell
}

func newTable(head ...string) *table { return &table{head: head} }

// row adds a row; an element is a string or a cell.
func (t *table) row(cells ...any) {
	row := make([]cell, len(cells))
	for i, c := range cells {
		switch c := c.(type) {
		case cell:
			row[i] = c
		case string:
			row[i] = cell{text: c}
		}
		row[i].text = terminal.Word(row[i].text)
		if i < len(t.head)-1 {
			row[i].text = cut(row[i].text)
		}
	}
	t.rows = append(t.rows, row)
}

// widest is the most that a column takes which others follow, in characters. What comes from
// applications, such as an ID, may be thousands long; -o json has it whole.
const widest = 64

func cut(text string) string {
	if utf8.RuneCountInString(text) <= widest {
		return text
	}
	return string([]rune(text)[:widest-1]) + "…"
}

func (p *page) table(t *table) {
	widths := make([]int, len(t.head))
	for i, h := range t.head {
		widths[i] = utf8.RuneCountInString(h)
	}
	for _, r := range t.rows {
		for i, c := range r {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	line := func(cells []cell) {
		var b strings.Builder
		for i, c := range cells {
			pad := widths[i] - utf8.RuneCountInString(c.text) + 2
			b.WriteString(p.paint(c.style, c.text))
			if i < len(cells)-1 {
				b.WriteString(strings.Repeat(" ", pad))
			}
		}
		p.printf("%s\n", strings.TrimRight(b.String(), " "))
	}
	head := make([]cell, len(t.head))
	for i, h := range t.head {
		head[i] = cell{h, bold}
	}
	line(head)
	for _, r := range t.rows {
		line(r)
	}
}
