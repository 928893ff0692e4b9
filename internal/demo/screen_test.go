package demo

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/internal/terminal"
)

// drawn is what a screen writes when it draws twice.
func drawn(t *testing.T, onTerminal, color bool) string {
	t.Helper()
	var out bytes.Buffer
	o, err := Options{Chaos: true, Out: &out, Terminal: onTerminal, Color: color}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	d := &demo{
		Options: o, ledger: written(3), fleet: &fleet{}, shop: &shop{}, chaos: &chaos{},
		audits: &audits{}, started: time.Now(),
	}
	d.shop.last.Store("order-000000 OrderShipped")
	s := screen{demo: d, Painter: terminal.Painter{Color: color && onTerminal}, at: d.started}
	s.head()
	s.draw(time.Now().Add(time.Second))
	s.draw(time.Now().Add(2 * time.Second))
	return out.String()
}

var codes = regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`)

func TestTerminalLinesAreWrittenOver(t *testing.T) {
	out := drawn(t, true, true)
	if !strings.Contains(out, "\x1b[5A") {
		t.Errorf("the second drawing does not begin at the first one's five lines:\n%q", out)
	}
	if !strings.Contains(out, "\x1b[36m") {
		t.Error("no colours although they are allowed")
	}
	for _, line := range strings.Split(codes.ReplaceAllString(out, ""), "\n") {
		if n := len([]rune(strings.TrimSuffix(line, "\r"))); n > 78 {
			t.Errorf("%d columns, which may wrap: %q", n, line)
		}
	}
}

func TestTerminalWithoutColours(t *testing.T) {
	if colour := regexp.MustCompile(`\x1b\[[0-9;]*m`).FindString(drawn(t, true, false)); colour != "" {
		t.Errorf("a colour although there are to be none: %q", colour)
	}
}

func TestPlainLinesElsewhere(t *testing.T) {
	out := drawn(t, false, true)
	if strings.ContainsRune(out, '\x1b') || strings.ContainsRune(out, '\r') {
		t.Errorf("control characters where there is no terminal: %q", out)
	}
	if n := strings.Count(out, "written 3 "); n != 2 {
		t.Errorf("%d lines, want one for each drawing:\n%s", n, out)
	}
}
