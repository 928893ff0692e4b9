package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

// dropped is the result of a drop.
type dropped struct {
	Dropped []string `json:"dropped"`
}

func newDLQDropCommand(a *app) *cobra.Command {
	var s selection
	cmd := &cobra.Command{
		Use:   "drop [ENTRY...]",
		Short: "End dead letters for good",
		Long: "End dead letters for good: their events will never be delivered. Kafka removes the " +
			"records when it compacts the topic.",
		Example: "  sluice dlq drop 3/1700000000000-5\n  sluice dlq drop --reason undecodable",
		RunE: func(cmd *cobra.Command, refs []string) error {
			if err := s.check(refs, true); err != nil {
				return err
			}
			l, err := a.letters(cmd.Context())
			if err != nil {
				return err
			}
			defer l.close()
			return a.drop(cmd.Context(), l, refs, s)
		},
	}
	s.register(cmd, true)
	return cmd
}

func (a *app) drop(ctx context.Context, l *letters, refs []string, s selection) error {
	chosen, err := l.choose(refs, s)
	if err != nil {
		return err
	}
	if len(chosen) == 0 {
		return a.print(dropped{Dropped: []string{}}, func(p *page) {
			p.printf("no dead letters to drop\n")
		})
	}
	a.preview(func(p *page) {
		p.printf("To be dropped, and never delivered:\n")
		printChosen(p, chosen)
	})
	if err := a.consent(fmt.Sprintf("Drop %s for good?",
		count(len(chosen), "dead letter"))); err != nil {
		return err
	}
	if err := l.topic.Drop(ctx, chosen...); err != nil {
		return err
	}
	result := dropped{}
	for _, letter := range chosen {
		result.Dropped = append(result.Dropped, letter.Ref())
	}
	return a.print(result, func(p *page) {
		p.printf("%s dropped\n", count(len(chosen), "dead letter"))
	})
}
