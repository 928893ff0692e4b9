package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode"

	"github.com/sluice-outbox/sluice/internal/deadletter"
)

// nasty sets a terminal's title, clears it, hides what follows, and turns its direction.
const nasty = "x\x1b]0;owned\x07\u009b2J\x1b[8m\u202ecod\u200b.exe\r\n| forged"

// steers reports what a terminal would act on.
func steers(t *testing.T, what, out string) {
	t.Helper()
	for _, r := range out {
		if !unicode.IsPrint(r) && r != '\n' && r != '\t' {
			t.Errorf("%s has %U: %q", what, r, out)
			return
		}
	}
}

func TestNothingSteersTheTerminal(t *testing.T) {
	t.Parallel()
	letter := shownLetter{Letter: &deadletter.Letter{}}
	letter.Outbox, letter.Reason, letter.Detail, letter.Topic = nasty, nasty, nasty, nasty
	letter.Undecodable = nasty
	letter.Fields = []shownField{
		{Name: nasty, Bytes: len(nasty), Text: ""},
		showField(deadletter.Field{Name: nasty, Value: []byte(nasty)}, true),
	}
	out := rendered(func(p *page) { printLetter(p, letter) })
	steers(t, "dlq show", out)
	if n := strings.Count(out, "\n| forged"); n != 0 {
		t.Errorf("%d forged lines:\n%s", n, out)
	}
	out = rendered(func(p *page) {
		table := newTable("ID", "DETAIL")
		table.row(nasty, nasty)
		table.row(cell{strings.Repeat("w", 3000), red}, strings.Repeat("w", 300))
		p.table(table)
	})
	steers(t, "a table", out)
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 3 {
		t.Errorf("%d lines:\n%s", len(lines), out)
	} else if column, _, _ := strings.Cut(lines[2], "  "); len([]rune(column)) != widest {
		t.Errorf("a column of %d characters", len([]rune(column)))
	}
	for _, output := range []string{"json", "jsonl"} {
		var b strings.Builder
		a := &app{out: &b, output: output}
		if err := a.print(map[string]string{nasty: nasty}, nil); err != nil {
			t.Fatal(err)
		}
		steers(t, output, b.String())
		var back map[string]string
		if err := json.Unmarshal([]byte(b.String()), &back); err != nil || back[nasty] != nasty {
			t.Errorf("%s comes back as %q, %v", output, back, err)
		}
	}
	for name, err := range map[string]error{
		"an error": errors.New(nasty), "a wrong command line": usagef("%s", nasty),
	} {
		var b strings.Builder
		a := &app{err: &b, started: true}
		_ = a.status(err)
		steers(t, name, b.String())
	}
}
