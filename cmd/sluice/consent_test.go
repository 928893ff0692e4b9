package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestConsent(t *testing.T) {
	for _, tt := range []struct {
		name     string
		terminal bool
		yes      bool
		answer   string
		want     bool
	}{
		{"--yes", false, true, "", true},
		{"no terminal", false, false, "y\n", false},
		{"yes", true, false, "yes\n", true},
		{"y", true, false, " Y \n", true},
		{"no", true, false, "n\n", false},
		{"return alone", true, false, "\n", false},
		{"end of input", true, false, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var errs bytes.Buffer
			a := &app{
				in: strings.NewReader(tt.answer), err: &errs, inTerminal: tt.terminal,
				errTerminal: tt.terminal, yes: tt.yes,
			}
			err := a.consent("Do it?")
			var usage *usageError
			if (err == nil) != tt.want || err != nil && !errors.As(err, &usage) {
				t.Errorf("got %v", err)
			}
			if asked := strings.Contains(errs.String(), "Do it? [y/N]"); asked != (tt.terminal && !tt.yes) {
				t.Errorf("asked: %v", asked)
			}
		})
	}
}

func TestColor(t *testing.T) {
	for _, tt := range []struct {
		a    app
		want bool
	}{
		{app{}, true},
		{app{noColor: true}, false},
		{app{environ: []string{"NO_COLOR=1"}}, false},
		{app{environ: []string{"NO_COLOR="}}, true},
		{app{environ: []string{"TERM=dumb"}}, false},
	} {
		if got := tt.a.color(); got != tt.want {
			t.Errorf("%+v: got %v", tt.a, got)
		}
	}
	var b bytes.Buffer
	p := &page{w: &b, color: true}
	tab := newTable("A", "B")
	tab.row(cell{"x", red}, "y")
	p.table(tab)
	if got := b.String(); got != "\x1b[1mA\x1b[0m  \x1b[1mB\x1b[0m\n\x1b[31mx\x1b[0m  y\n" {
		t.Errorf("got %q", got)
	}
}
