package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-outbox/sluice/internal/deadletter"
	"github.com/sluice-outbox/sluice/relay"
)

func newDLQReplayCommand(a *app) *cobra.Command {
	var s selection
	var unset []string
	cmd := &cobra.Command{
		Use:   "replay [ENTRY...]",
		Short: "Append dead letters to their streams again",
		Long: `Append dead letters to their streams again, and end them in the dead-letter topic. The
event keeps its id and its time and gets a new entry ID; it comes after the events that were
appended since, so the order of its key is not kept.

Mend what was wrong first (create the topic, raise max.message.bytes), or on the way: --set
FIELD=VALUE sets a field of the wire format for all that are replayed, --unset FIELD removes one.
(The name of a setting has a dot, that of a field has none, so --set keeps its general meaning as
well.) Repeating a replay that was cut off appends nothing twice.`,
		Example: "  sluice dlq replay 3/1700000000000-5\n  sluice dlq replay --reason no_route --set " +
			"topic=orders.misc",
		RunE: func(cmd *cobra.Command, refs []string) error {
			if err := s.check(refs, true); err != nil {
				return err
			}
			edit, err := a.takeEdit(unset)
			if err != nil {
				return err
			}
			l, err := a.letters(cmd.Context())
			if err != nil {
				return err
			}
			defer l.close()
			return a.replay(cmd.Context(), l, refs, s, edit)
		},
	}
	s.register(cmd, true)
	cmd.Flags().StringArrayVar(&unset, "unset", nil, "remove a `FIELD`; can be repeated")
	return cmd
}

// takeEdit takes the fields out of --set and leaves the settings.
func (a *app) takeEdit(unset []string) (deadletter.Edit, error) {
	e := deadletter.Edit{Set: map[string]string{}, Unset: unset}
	var settings []string
	for _, kv := range a.set {
		name, value, ok := strings.Cut(kv, "=")
		switch {
		case strings.Contains(name, "."):
			settings = append(settings, kv)
			continue
		case !ok:
			return e, usagef("--set %s: expected FIELD=VALUE", kv)
		case slices.Contains(unset, name):
			return e, usagef("--set and --unset of %s exclude each other", name)
		}
		e.Set[name] = value
	}
	if err := e.Check(); err != nil {
		return e, usagef("--set: %w", err)
	}
	a.set = settings
	return e, nil
}

// replay previews, asks, and replays one after the other. Each is prepared twice, so that no more
// than one payload is held at a time.
func (a *app) replay(ctx context.Context, l *letters, refs []string, s selection,
	edit deadletter.Edit,
) error {
	layout, err := l.layout(ctx, l.config)
	if err != nil {
		return err
	}
	chosen, err := l.choose(refs, s)
	if err != nil {
		return err
	}
	if len(chosen) == 0 {
		return a.print([]deadletter.Result{}, func(p *page) { p.printf("no dead letters to replay\n") })
	}
	prepare := func(letter *deadletter.Letter) (deadletter.Replay, error) {
		fields, err := l.topic.Load(ctx, letter)
		if err != nil {
			return deadletter.Replay{}, err
		}
		return deadletter.Prepare(letter, fields, layout.Shards, edit)
	}
	var refused []error
	for _, letter := range chosen {
		if _, err := prepare(letter); err != nil {
			refused = append(refused, err)
		}
	}
	if len(refused) > 0 {
		return fmt.Errorf("nothing was replayed: %w", refused[0])
	}
	a.preview(func(p *page) { printReplay(p, chosen, edit) })
	if err := a.consent(fmt.Sprintf("Replay %s?", count(len(chosen), "dead letter"))); err != nil {
		return err
	}
	results := make([]deadletter.Result, 0, len(chosen))
	var failed error
	for _, letter := range chosen {
		var r deadletter.Replay
		if r, failed = prepare(letter); failed != nil {
			break
		}
		var result deadletter.Result
		if result, failed = l.topic.Send(ctx, l.redis, r); failed != nil {
			break
		}
		results = append(results, result)
	}
	if err := a.print(results, func(p *page) {
		for _, r := range results {
			if r.New == "" {
				p.printf("%s: had been appended before; dropped from the dead letters\n", r.Ref)
			} else {
				p.printf("%s: appended to shard %d as %s\n", r.Ref, r.Shard, r.New)
			}
		}
	}); err != nil {
		return err
	}
	if failed != nil {
		return fmt.Errorf("%d of %d replayed, then: %w", len(results), len(chosen), failed)
	}
	return nil
}

// previewed letters are listed in a preview; the rest is counted.
const previewed = 10

func printReplay(p *page, chosen []*deadletter.Letter, edit deadletter.Edit) {
	p.printf("To be appended again:\n")
	printChosen(p, chosen)
	for _, name := range slices.Sorted(maps.Keys(edit.Set)) {
		p.printf("  with %s set to %q\n", name, edit.Set[name])
	}
	for _, name := range edit.Unset {
		p.printf("  with %s removed\n", name)
	}
	undecodable := slices.ContainsFunc(chosen, func(l *deadletter.Letter) bool {
		return l.Reason == string(relay.ReasonUndecodable)
	})
	if undecodable && len(edit.Set)+len(edit.Unset) == 0 {
		p.printf("  %s\n", p.paint(yellow,
			"undecodable entries come back as dead letters unless they are edited"))
	}
	p.printf("  They come after the events appended since: the order of their keys is not kept.\n")
}

func printChosen(p *page, chosen []*deadletter.Letter) {
	t := newTable("  ENTRY", "REASON", "BYTES", "TYPE", "TOPIC")
	for i, l := range chosen {
		if i == previewed {
			break
		}
		t.row("  "+l.Ref(), l.Reason, fmt.Sprint(l.Bytes), dash(l.Type), dash(l.Topic))
	}
	p.table(t)
	if len(chosen) > previewed {
		p.printf("  ... and %d more\n", len(chosen)-previewed)
	}
}
