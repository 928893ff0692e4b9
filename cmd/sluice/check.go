package main

import (
	"github.com/spf13/cobra"

	"github.com/sluice-outbox/sluice/internal/config"
	"github.com/sluice-outbox/sluice/internal/preflight"
)

// checked is the result of a check.
type checked struct {
	Outbox   string              `json:"outbox"`
	Worst    preflight.Level     `json:"worst"`
	Findings []preflight.Finding `json:"findings"`
}

func newCheckCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Look for every setting, permission, version and topic that would fail later",
		Long: `Look for every setting, permission, version and topic that would make a relay or an audit
fail later, on both servers, and say what to do about each. It changes nothing and can run beside
relays.

Exit status 1 when something would fail; warnings alone are 0.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.config()
			if err != nil {
				return err
			}
			s, err := a.connect(c)
			if err != nil {
				return err
			}
			defer s.close()
			replica, err := config.ReplicaClient(c)
			if err != nil {
				return err
			}
			if replica != nil {
				defer replica.Close()
			}
			findings := preflight.Run(cmd.Context(), c,
				preflight.Servers{Redis: s.redis, Replica: replica, Kafka: s.kafka})
			result := checked{Outbox: c.Outbox.Name, Worst: preflight.Worst(findings), Findings: findings}
			if err := a.print(result, func(p *page) { printChecked(p, result) }); err != nil {
				return err
			}
			if result.Worst == preflight.Fail {
				return errQuiet
			}
			return nil
		},
	}
}

var levelStyle = map[preflight.Level]style{
	preflight.OK: green, preflight.Warn: yellow,
	preflight.Fail: red,
}

func printChecked(p *page, r checked) {
	counts := map[preflight.Level]int{}
	area := ""
	for _, f := range r.Findings {
		counts[f.Level]++
		if f.Area != area {
			if area != "" {
				p.printf("\n")
			}
			area = f.Area
			p.printf("%s\n", p.paint(bold, area))
		}
		p.printf("  %s  %s: %s\n", p.paint(levelStyle[f.Level], pad(string(f.Level), 4)), f.Name,
			f.Detail)
		if f.Fix != "" {
			p.printf("        -> %s\n", f.Fix)
		}
	}
	p.printf("\n")
	switch {
	case counts[preflight.Fail] > 0:
		p.printf("%s: %d would fail, %s, %d fine\n", p.paint(red, "not ready"), counts[preflight.Fail],
			count(counts[preflight.Warn], "warning"), counts[preflight.OK])
	case counts[preflight.Warn] > 0:
		p.printf("%s, with %s; %d fine\n", p.paint(yellow, "ready"),
			count(counts[preflight.Warn], "warning"), counts[preflight.OK])
	default:
		p.printf("%s: %d fine\n", p.paint(green, "ready"), counts[preflight.OK])
	}
}

func pad(s string, n int) string {
	for len(s) < n {
		s += " "
	}
	return s
}
