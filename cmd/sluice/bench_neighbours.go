package main

import (
	"github.com/spf13/cobra"

	"github.com/sluice-outbox/sluice/internal/bench"
)

func newBenchNeighboursCommand(a *app) *cobra.Command {
	var o bench.NeighboursOptions
	cmd := &cobra.Command{
		Use:   "neighbours",
		Short: "Measure what shards in trouble do to the others",
		Long: `Writes events at a steady rate to all shards of one relay but the last three, and measures
how long each takes to be visible: first while nothing else happens, then while the last three
shards are in trouble:

  one has an event a second that the broker refuses, among others that it takes
  one writes to a partition without a leader
  one has a backlog to catch up with

and prints both side by side. If the relay catches up before the run ends, the time in which it did
has a column of its own.

Without --redis or --kafka a server of this machine is started for the run. The partition without a
leader was on a second broker, which is stopped before anything is measured; on a given Kafka that
trouble is left out. Given servers should have nothing else to do; what is written to them is
removed at the end.`,
		Example: `  sluice bench neighbours
  sluice bench neighbours --rate 2000 --backlog 3000000 --rounds 3
  sluice bench neighbours --redis 127.0.0.1:6379 --kafka 127.0.0.1:9092 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.measure(&o.Drive, &o.Progress, func() error {
				return o.Check()
			}, func() (benchReport, error) {
				return bench.RunNeighbours(cmd.Context(), o)
			})
		},
	}
	flags := cmd.Flags()
	serverFlags(flags, &o.Redis, &o.Kafka)
	flags.IntVar(&o.Shards, "shards", 0, "shards of the relay, three of them in trouble (default 64)")
	flags.IntVar(&o.Rate, "rate", 0, "events a second of all other shards together (default 600)")
	flags.DurationVar(&o.For, "for", 0, "how long each of the two runs takes (default 15s)")
	flags.IntVar(&o.Backlog, "backlog", 0,
		"entries of the shard that has to catch up (default 1000000)")
	flags.IntVar(&o.Payload, "payload", 0, "bytes of a payload (default 200)")
	flags.IntVar(&o.Rounds, "rounds", 0, "how often both runs are made (default 1)")
	flags.IntVar(&o.Lanes, "lanes", 0, "the relay's relay.lanes (default its own)")
	flags.DurationVar(&o.Linger, "linger", 0, "the relay's relay.linger (default its own)")
	flags.DurationVar(&o.Limit, "limit", 0,
		"most time for one round, beyond its two runs (default 5m)")
	flags.StringVar(&o.Profile, "profile", "",
		"write a CPU profile of the relay in each round to this existing `FOLDER`")
	return cmd
}
