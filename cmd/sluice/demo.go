package main

import (
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/internal/demo"
	"github.com/sluice-outbox/sluice/relay"
)

func newDemoCommand(a *app) *cobra.Command {
	var o demo.Options
	var delivery, plant string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show Sluice at work, in one process, with nothing installed",
		Long: `Runs an in-memory Redis and Kafka, a small shop that writes orders with their events in
Redis transactions, relays, a consumer that checks what arrives, and audits that compare both sides
meanwhile. Needs nothing and leaves nothing behind.

Without --events it goes on until Ctrl-C. At the end comes the verdict; the exit status is 0 only if
every event arrived once and in the order of its key, and the audits agree. --chaos kills relays and
pauses their network past their session meanwhile.

--plant KIND makes a fault on purpose when all has arrived, and shows what the audit says of it:
lost, duplicated, reordered, altered, orphaned, misdirected, late or unverifiable. The exit status
is then 3 if the audit found exactly what was planted, and 1 if it did not.

The servers are stand-ins: the demo shows how Sluice behaves and proves nothing about Redis or
Kafka.`,
		Example: `  sluice demo
  sluice demo --events 20000 --chaos
  sluice demo --plant altered`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.Delivery, err = relay.ParseDelivery(delivery); err != nil {
				return usagef("--delivery: %w", err)
			}
			o.Plant = consistency.Kind(plant)
			if err := o.Check(); err != nil {
				return usagef("%w", err)
			}
			// With -o json the verdict is all of the output; what passes is shown beside it.
			o.Out, o.Terminal = a.err, a.errTerminal
			if a.output == "text" {
				o.Out, o.Terminal = a.out, a.outTerminal
			}
			o.Color = a.color()
			if a.logLevel != "" {
				var level slog.Level
				if err := level.UnmarshalText([]byte(a.logLevel)); err != nil {
					return usagef("--log-level %s: expected debug, info, warn or error", a.logLevel)
				}
				o.Logger = slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level}))
				o.Terminal = false // lines of the log would be written over
			}
			v, err := demo.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			if a.output != "text" {
				if err := a.print(v, func(*page) {}); err != nil {
					return err
				}
			}
			switch {
			case !v.OK || v.Planted != nil && !v.Planted.Found:
				return errQuiet
			case v.Planted != nil:
				return thresholdf("found as planted: %s", v.Planted.Kind)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&o.Events, "events", 0,
		"write this many events, then end with the verdict; 0: until Ctrl-C")
	flags.BoolVar(&o.Chaos, "chaos", false, "kill and pause relays meanwhile")
	flags.StringVar(&plant, "plant", "",
		"make a fault of this `KIND` at the end, which the audit has to find")
	flags.IntVar(&o.Rate, "rate", 0, "events written a second; 0: chosen to suit")
	flags.IntVar(&o.Relays, "relays", 0, "relays at once; 0: one, three with --chaos")
	flags.IntVar(&o.Shards, "shards", 0, "shards of the outbox; 0: four")
	flags.StringVar(&delivery, "delivery", relay.DeliveryExactlyOnce.String(),
		"exactly-once or at-least-once")
	flags.Uint64Var(&o.Seed, "seed", 0, "seed of what is random; 0: another one each time")
	return cmd
}
