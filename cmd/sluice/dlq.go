package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-outbox/sluice/internal/config"
	"github.com/sluice-outbox/sluice/internal/deadletter"
	"github.com/sluice-outbox/sluice/internal/names"
)

func newDLQCommand(a *app) *cobra.Command {
	return group("dlq", "List, show, replay or drop entries that could not be delivered",
		newDLQListCommand(a), newDLQShowCommand(a), newDLQReplayCommand(a), newDLQDropCommand(a))
}

// letters is an open dead-letter topic with what is in it.
type letters struct {
	*servers
	config *config.Config
	topic  *deadletter.Topic
	name   string
	index  *deadletter.Index
	all    []*deadletter.Letter
}

// letters opens the dead-letter topic and reads its index. The caller closes it.
func (a *app) letters(ctx context.Context) (*letters, error) {
	c, err := a.config()
	if err != nil {
		return nil, err
	}
	s, err := a.connect(c, deadletter.ProducerOpts()...)
	if err != nil {
		return nil, err
	}
	l := &letters{servers: s, config: c, name: deadLetterTopic(c)}
	if err := s.reachKafka(ctx, c); err != nil {
		s.close()
		return nil, err
	}
	l.topic = deadletter.Open(s.kafka, l.name)
	if l.index, err = l.topic.Index(ctx, c.Outbox.Name); err != nil {
		s.close()
		return nil, err
	}
	l.all = l.index.Letters()
	return l, nil
}

func deadLetterTopic(c *config.Config) string {
	if t := c.Relay.DeadLetter.Topic; t != "" {
		return t
	}
	return names.DeadLetterTopic(c.Outbox.Name)
}

// selection are the flags that choose dead letters.
type selection struct {
	reason string
	shard  int
	all    bool
}

func (s *selection) register(cmd *cobra.Command, all bool) {
	cmd.Flags().StringVar(&s.reason, "reason", "",
		"only those with this `REASON`: "+strings.Join(reasons(), ", "))
	cmd.Flags().IntVar(&s.shard, "shard", -1, "only those of this `SHARD`")
	if all {
		cmd.Flags().BoolVar(&s.all, "all", false, "all that the other flags leave")
	}
	_ = cmd.RegisterFlagCompletionFunc("reason",
		cobra.FixedCompletions(reasons(), cobra.ShellCompDirectiveNoFileComp))
}

func reasons() []string {
	for _, s := range config.Settings() {
		if s.Path == "relay.dead_letter.on" {
			return s.Enum
		}
	}
	return nil
}

// check refuses contradictions before a server is asked.
func (s *selection) check(refs []string, acts bool) error {
	if s.reason != "" && !slices.Contains(reasons(), s.reason) {
		return usagef("--reason %s: expected %s", s.reason, strings.Join(reasons(), ", "))
	}
	if acts && len(refs) == 0 && !s.all && s.reason == "" && s.shard < 0 {
		return usagef("name the dead letters, or choose them with --reason, --shard or --all; 'sluice " +
			"dlq list' shows them")
	}
	if len(refs) > 0 && s.all {
		return usagef("--all and names of dead letters exclude each other")
	}
	return nil
}

func (l *letters) choose(refs []string, s selection) ([]*deadletter.Letter, error) {
	chosen, err := deadletter.Select(l.all,
		deadletter.Selection{Refs: refs, Reason: s.reason, Shard: s.shard})
	if err != nil {
		return nil, fmt.Errorf("topic %s: %w", l.name, err)
	}
	return chosen, nil
}
