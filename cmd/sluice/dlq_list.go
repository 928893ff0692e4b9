package main

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-outbox/sluice/internal/deadletter"
)

func newDLQListCommand(a *app) *cobra.Command {
	var s selection
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the dead letters, grouped by reason",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.check(nil, false); err != nil {
				return err
			}
			l, err := a.letters(cmd.Context())
			if err != nil {
				return err
			}
			defer l.close()
			chosen, err := l.choose(nil, s)
			if err != nil {
				return err
			}
			return a.print(chosen, func(p *page) { printLetters(p, l, chosen, limit, time.Now()) })
		},
	}
	s.register(cmd, false)
	cmd.Flags().IntVar(&limit, "limit", 20,
		"most `LINES` for each reason; 0: all; json and jsonl have always all")
	return cmd
}

// byReason groups letters, the largest group first.
func byReason(all []*deadletter.Letter) [][]*deadletter.Letter {
	groups := map[string][]*deadletter.Letter{}
	for _, l := range all {
		groups[l.Reason] = append(groups[l.Reason], l)
	}
	list := make([][]*deadletter.Letter, 0, len(groups))
	for _, g := range groups {
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b []*deadletter.Letter) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a[0].Reason, b[0].Reason))
	})
	return list
}

func printLetters(p *page, l *letters, chosen []*deadletter.Letter, limit int, now time.Time) {
	p.printf("outbox %s: %s in topic %s\n", p.paint(bold, l.config.Outbox.Name),
		count(len(chosen), "dead letter"), l.name)
	for _, group := range byReason(chosen) {
		p.printf("\n%s: %d\n", p.paint(yellow, dash(group[0].Reason)), len(group))
		t := newTable("ENTRY", "AGE", "BYTES", "AGGREGATE", "TYPE", "TOPIC", "DETAIL")
		for i, d := range group {
			if limit > 0 && i == limit {
				break
			}
			t.row(d.Ref(), short(now.Sub(d.At)), strconv.Itoa(d.Bytes), dash(d.AggregateType), dash(d.Type),
				dash(d.Topic), d.Detail)
		}
		p.table(t)
		if limit > 0 && len(group) > limit {
			p.printf("... and %d more (--limit 0 for all)\n", len(group)-limit)
		}
	}
	if l.index.Foreign > 0 {
		p.printf("\n%s in the topic are no dead letters of sluice\n", count(l.index.Foreign, "record"))
	}
	if len(chosen) > 0 {
		p.printf("\nOne in full: sluice dlq show ENTRY. Again: sluice dlq replay ENTRY, or --reason. " +
			"For good: sluice dlq drop.\n")
	}
}
