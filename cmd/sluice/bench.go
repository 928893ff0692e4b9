package main

import (
	"github.com/spf13/cobra"

	"github.com/sluice-outbox/sluice/internal/bench"
)

func newBenchCommand(a *app) *cobra.Command {
	var o bench.Options
	var quick, full bool
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure Sluice beside a hand-written loop, Redis alone and Kafka alone",
		Long: `Measures, in one run and taking turns: a hand-written at-least-once loop, both
deliveries of the relay, and what Redis and Kafka do alone. The figures are throughput over a
backlog, latency at steady rates, and what the writer adds to a bare transaction.

Latency comes with the CPU time that the driver and the brokers took meanwhile, and with the
transactions that the relay committed. The brokers' CPU time is known where the run has started them
as processes of this machine, which takes Linux.

Without --redis or --kafka a server of this machine is started for the run. Given servers should
have nothing else to do; what is written to them is removed at the end.

A run takes about three minutes; --full is several times as long, for figures that are to be written
down.

The output says which of the wanted figures are reached. The exit status does not depend on it.`,
		Example: `  sluice bench
  sluice bench --full -o json
  sluice bench --only throughput --shards 1
  sluice bench --only latency,exactly-once --shards 1,4,16,64 --rates 200,2000
  sluice bench --only exactly-once,loop --redis 127.0.0.1:6379 --kafka 127.0.0.1:9092 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case quick:
				o = o.Quick(cmd.Flags().Changed)
			case full:
				o = o.Full(cmd.Flags().Changed)
			}
			return a.measure(&o.Drive, &o.Progress, func() error {
				return o.Check()
			}, func() (benchReport, error) {
				return bench.Run(cmd.Context(), o)
			})
		},
	}
	flags := cmd.Flags()
	serverFlags(flags, &o.Redis, &o.Kafka)
	flags.IntVar(&o.Entries, "entries", 0, "entries of the backlog (default 600000)")
	flags.IntVar(&o.Payload, "payload", 0, "bytes of a payload (default 200)")
	flags.IntSliceVar(&o.Shards, "shards", nil,
		"numbers of shards, for throughput and for latency (default 1,4; latency 1)")
	flags.IntVar(&o.Rounds, "rounds", 0, "how often the drivers take turns (default 2)")
	flags.StringSliceVar(&o.Only, "only", nil,
		"only these: throughput, latency, writer; loop, exactly-once, at-least-once, redis, kafka, or "+
			"one with its shards: loop/4")
	flags.BoolVar(&quick, "quick", false, "small and short: to see that it works, not to compare")
	flags.BoolVar(&full, "full", false,
		"large and long: for figures to be written down; 5000 events a second too")
	flags.IntVar(&o.Batch, "batch", 0,
		"entries that the hand-written loop reads at once (default 1000)")
	flags.IntSliceVar(&o.Rates, "rates", nil,
		"events a second of the latency section, of all shards together, each over each number of "+
			"shards (default 20,200)")
	flags.IntVar(&o.Lanes, "lanes", 0, "the relay's relay.lanes (default its own)")
	flags.DurationVar(&o.Linger, "linger", 0, "the relay's relay.linger (default its own)")
	flags.DurationVar(&o.LatencyFor, "latency-for", 0, "how long each latency run takes (default 4s)")
	flags.IntVar(&o.Writes, "writes", 0,
		"transactions of each kind a round of the writer section (default 5000)")
	flags.DurationVar(&o.Limit, "limit", 0, "most time for one run of one driver (default 2m)")
	flags.StringVar(&o.Profile, "profile", "",
		"write a CPU profile of each run of a driver to this existing `FOLDER`")
	cmd.MarkFlagsMutuallyExclusive("quick", "full")
	cmd.AddCommand(newBenchAuditCommand(a), newBenchNeighboursCommand(a), newDriveCommand(a))
	return cmd
}
