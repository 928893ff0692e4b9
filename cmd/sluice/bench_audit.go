package main

import (
	"github.com/spf13/cobra"

	"github.com/sluice-outbox/sluice/internal/bench"
)

func newBenchAuditCommand(a *app) *cobra.Command {
	var o bench.AuditOptions
	var quick bool
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Measure audits beside what Redis and Kafka alone can be read at",
		Long: `Fills an outbox, delivers it with the relay, and measures, in one run and taking turns: how
fast Redis alone and Kafka alone can be read, an audit as fast as it can, and one with the effort of
audits that run on a schedule. Then it measures what audits that never pause cost the relay.

Without --redis or --kafka a server of this machine is started for the run. Given servers should
have nothing else to do; what is written to them is removed at the end.

The output says which of the wanted figures are reached. The exit status does not depend on it. An
audit that does not agree is a failure.`,
		Example: `  sluice bench audit --quick
  sluice bench audit --shards 1 --rounds 5
  sluice bench audit --entries 10000000 --payload 32 --shards 4 --backlog -1 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if quick {
				o = o.Quick(cmd.Flags().Changed)
			}
			return a.measure(&o.Drive, &o.Progress, func() error {
				return o.Check()
			}, func() (benchReport, error) {
				return bench.RunAudit(cmd.Context(), o)
			})
		},
	}
	flags := cmd.Flags()
	serverFlags(flags, &o.Redis, &o.Kafka)
	flags.IntVar(&o.Entries, "entries", 0, "entries audited (default 1000000)")
	flags.IntVar(&o.Payload, "payload", 0, "bytes of a payload (default 200)")
	flags.IntSliceVar(&o.Shards, "shards", nil, "numbers of shards (default 1,4)")
	flags.IntVar(&o.Rounds, "rounds", 0, "how often all that is measured takes turns (default 3)")
	flags.IntVar(&o.Backlog, "backlog", 0,
		"entries that the relay drains beside audits; -1: only the speed of audits is measured "+
			"(default 600000)")
	flags.BoolVar(&quick, "quick", false, "small and short: to see that it works, not to compare")
	flags.DurationVar(&o.Limit, "limit", 0, "most time for one run (default 10m)")
	flags.StringVar(&o.Profile, "profile", "",
		"write a CPU profile of each run to this existing `FOLDER`")
	return cmd
}
