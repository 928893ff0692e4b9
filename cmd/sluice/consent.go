package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/sluice-outbox/sluice/internal/terminal"
)

// consent asks before a command destroys something or sends it again. The caller has shown a
// preview on a.err. --yes answers for the user; without it and without a terminal on both ends the
// command refuses, since nobody can answer.
func (a *app) consent(question string) error {
	if a.yes {
		return nil
	}
	if !a.inTerminal || !a.errTerminal {
		return usagef("%q cannot be asked without a terminal; nothing was changed; add --yes to consent",
			question)
	}
	fmt.Fprintf(a.err, "%s [y/N] ", terminal.Text(question))
	answer, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil && err != io.EOF {
		return fmt.Errorf("reading the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return usagef("not consented, nothing was changed")
}

// preview writes what is about to happen to a.err, so that the output stays the result alone.
func (a *app) preview(text func(p *page)) {
	text(&page{w: a.err, color: a.errTerminal && a.color()})
}
