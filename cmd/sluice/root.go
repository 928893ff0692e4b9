package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// Help lists commands in the order in which one needs them. Cobra has a package variable for that,
// which every tree reads, so it is set before there is a tree.
func init() { cobra.EnableCommandSorting = false }

// newRoot makes the command tree over one app.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "sluice",
		Short: "Transactional outbox from Redis to Kafka, exactly once and in order",
		Long: `Sluice carries the events that an application appends in a Redis transaction to Kafka:
exactly once, in order, checked.

Settings come from sluice.yaml (or -c FILE), SLUICE_ variables, --set and flags, the later over the
earlier; 'sluice config show --origin' shows each with where it comes from.

Exit status: 0 fine, 1 failed, 2 usage or configuration, 3 drift or a threshold crossed.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if err := a.checkGlobals(); err != nil {
				return err
			}
			a.started = true
			return nil
		},
	}
	flags := root.PersistentFlags()
	flags.StringVarP(&a.file, "config", "c", "",
		"configuration `FILE` (default: $SLUICE_CONFIG, else sluice.yaml)")
	flags.StringVarP(&a.output, "output", "o", "text", "output: text, json or jsonl")
	flags.StringArrayVar(&a.set, "set", nil, "set one setting, `PATH=VALUE`; can be repeated")
	flags.StringVar(&a.logFormat, "log-format", "", "log lines: auto, json or text")
	flags.StringVar(&a.logLevel, "log-level", "",
		"least level that is logged: debug, info, warn or error")
	flags.BoolVarP(&a.yes, "yes", "y", false, "consent to what the command would ask about")
	flags.BoolVar(&a.noColor, "no-color", false, "no colours (also: NO_COLOR)")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w\nrun '%s --help'", err, cmd.CommandPath())
	})
	for name, words := range map[string][]string{
		"output": outputs, "log-format": {"auto", "json", "text"},
		"log-level": {"debug", "info", "warn", "error"},
	} {
		// The error is for a flag that does not exist.
		_ = root.RegisterFlagCompletionFunc(name,
			cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}

	root.AddGroup(
		&cobra.Group{ID: "begin", Title: "To begin:"},
		&cobra.Group{ID: "run", Title: "To run:"},
		&cobra.Group{ID: "operate", Title: "To operate:"},
		&cobra.Group{ID: "more", Title: "Also:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("begin", newDemoCommand(a), newInitCommand(a), newMigrateCommand(a), newCheckCommand(a))
	add("run", newRelayCommand(a))
	add("operate", newStatusCommand(a), newPauseCommand(a), newResumeCommand(a), newDLQCommand(a),
		newAuditCommand(a), newRepairCommand(a))
	add("more", newBenchCommand(a), newConfigCommand(a), newVersionCommand(a))
	root.SetHelpCommandGroupID("more")
	root.SetCompletionCommandGroupID("more")
	return root
}

// checkGlobals checks the global flags that are no settings.
func (a *app) checkGlobals() error {
	if !slices.Contains(outputs, a.output) {
		return usagef("-o %s: expected %s", a.output, strings.Join(outputs, ", "))
	}
	return nil
}

// group makes a command that only has subcommands.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{
		Use: use, Short: short, SuggestionsMinimumDistance: 2,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				hint := ""
				if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
					hint = fmt.Sprintf(" (did you mean %q?)", near[0])
				}
				return usagef("unknown command %q for %q%s", args[0], cmd.CommandPath(), hint)
			}
			return cmd.Help()
		},
	}
	g.AddCommand(commands...)
	return g
}
