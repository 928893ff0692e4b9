package main

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/sluice-outbox/sluice/internal/deadletter"
	"github.com/sluice-outbox/sluice/internal/terminal"
)

// shownLetter is a letter with its fields. Text is unchanged; what is not UTF-8 is in hex.
type shownLetter struct {
	*deadletter.Letter
	Fields []shownField `json:"fields"`
	// Undecodable says why Fields is incomplete.
	Undecodable string `json:"fields_error,omitempty"`
}

type shownField struct {
	Name      string `json:"name"`
	Text      string `json:"text,omitempty"`
	Hex       string `json:"hex,omitempty"`
	Bytes     int    `json:"bytes"`
	Truncated bool   `json:"truncated,omitempty"`
}

// shownBytes of a field are shown without --full.
const shownBytes = 512

func newDLQShowCommand(a *app) *cobra.Command {
	var full bool
	cmd := &cobra.Command{
		Use:   "show ENTRY...",
		Short: "Show dead letters with their fields",
		Long: "Show dead letters with their fields as they stood in Redis: text if printable, else " +
			"hex. This shows payloads and keys.",
		Example: "  sluice dlq show 3/1700000000000-5",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, refs []string) error {
			l, err := a.letters(cmd.Context())
			if err != nil {
				return err
			}
			defer l.close()
			chosen, err := l.choose(refs, selection{shard: -1})
			if err != nil {
				return err
			}
			shown := []shownLetter{}
			for _, letter := range chosen {
				fields, err := l.topic.Load(cmd.Context(), letter)
				if err != nil && fields == nil && letter.Missing == 0 {
					return err
				}
				s := shownLetter{Letter: letter, Fields: []shownField{}}
				if err != nil {
					s.Undecodable = err.Error()
				}
				for _, f := range fields {
					s.Fields = append(s.Fields, showField(f, full))
				}
				shown = append(shown, s)
			}
			return a.print(shown, func(p *page) {
				for i, s := range shown {
					if i > 0 {
						p.printf("\n")
					}
					printLetter(p, s)
				}
			})
		},
	}
	cmd.Flags().BoolVar(&full, "full", false, "show long fields whole")
	return cmd
}

func showField(f deadletter.Field, full bool) shownField {
	s := shownField{Name: f.Name, Bytes: len(f.Value)}
	text := terminal.IsText(f.Value)
	v := f.Value
	if !full && len(v) > shownBytes {
		v, s.Truncated = v[:shownBytes], true
		for text && !utf8.Valid(v) {
			v = v[:len(v)-1] // a character that the cut went through
		}
	}
	if text {
		s.Text = string(v)
	} else {
		s.Hex = hex.EncodeToString(v)
	}
	return s
}

func printLetter(p *page, s shownLetter) {
	title := fmt.Sprintf("dead letter %s of outbox %s", s.Ref(), terminal.Word(s.Outbox))
	p.printf("%s\n", p.paint(bold, title))
	line := func(name, value string) {
		if value != "" {
			p.printf("  %-14s %s\n", name, strings.ReplaceAll(value, "\n", "\n"+strings.Repeat(" ", 17)))
		}
	}
	line("reason", terminal.Word(s.Reason))
	line("detail", terminal.Word(s.Detail))
	line("topic", terminal.Word(s.Topic))
	line("dead-lettered", s.At.Format(time.RFC3339))
	line("bytes", fmt.Sprint(s.Bytes))
	p.printf("  fields\n")
	for _, f := range s.Fields {
		value := f.Text
		if f.Hex != "" {
			value = "hex " + f.Hex
		}
		if f.Truncated {
			value += fmt.Sprintf(" … (%d bytes, --full for all)", f.Bytes)
		}
		if f.Bytes == 0 {
			value = "(empty)"
		}
		line("  "+terminal.Word(f.Name), value)
	}
	line("problem", terminal.Word(s.Undecodable))
}
