package main

import (
	"strings"
	"unicode/utf8"
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
	}
	t.rows = append(t.rows, row)
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
