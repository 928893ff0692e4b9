package main

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/sluice-outbox/sluice/internal/terminal"
)

// outputs are the forms of a command's result.
var outputs = []string{"text", "json", "jsonl"}

// print writes a result in the form that -o asks for. In jsonl a slice is one line an element,
// anything else is one line.
func (a *app) print(v any, text func(p *page)) error {
	switch a.output {
	case "json":
		return a.encode(v, "  ")
	case "jsonl":
		list := reflect.ValueOf(v)
		if list.Kind() != reflect.Slice {
			return a.encode(v, "")
		}
		for i := range list.Len() {
			if err := a.encode(list.Index(i).Interface(), ""); err != nil {
				return err
			}
		}
		return nil
	default:
		p := &page{w: a.out, color: a.outTerminal && a.color()}
		text(p)
		return p.failed
	}
}

// encode writes a value as JSON. A terminal may be what shows it.
func (a *app) encode(v any, indent string) error {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(a.out, terminal.JSON(b.String()))
	return err
}

// color reports whether colours are wanted where there is a terminal; see no-color.org.
func (a *app) color() bool {
	if a.noColor {
		return false
	}
	for _, kv := range a.environ {
		if v, ok := strings.CutPrefix(kv, "NO_COLOR="); ok && v != "" {
			return false
		}
		if kv == "TERM=dumb" {
			return false
		}
	}
	return true
}

// page is text for people. What comes from outside cannot steer their terminal. The first error of
// writing is kept.
type page struct {
	w      io.Writer
	color  bool
	failed error
}

func (p *page) printf(format string, args ...any) {
	text := terminal.Text(fmt.Sprintf(format, args...))
	if _, err := io.WriteString(p.w, text); err != nil && p.failed == nil {
		p.failed = err
	}
}

type style = terminal.Style

const (
	plain  = terminal.Plain
	bold   = terminal.Bold
	dim    = terminal.Dim
	red    = terminal.Red
	green  = terminal.Green
	yellow = terminal.Yellow
)

// paint gives text in a style, or as it is where there are no colours.
func (p *page) paint(s style, text string) string {
	return terminal.Painter{Color: p.color}.Paint(s, text)
}
