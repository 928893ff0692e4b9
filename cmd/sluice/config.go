package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/sluice-outbox/sluice/internal/config"
)

func newConfigCommand(a *app) *cobra.Command {
	return group("config", "Show the configuration and describe its settings",
		newConfigShowCommand(a), newConfigSchemaCommand(a), newConfigReferenceCommand(a))
}

// setValue is one setting of `config show --origin -o json`.
type setValue struct {
	Setting string `json:"setting"`
	Value   any    `json:"value"`
	Layer   string `json:"layer"`
	Origin  string `json:"origin"`
}

func newConfigShowCommand(a *app) *cobra.Command {
	var origin, changed bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the configuration as it is used, secrets redacted",
		Long: `Print the configuration as it is used: defaults, file, environment, --set and flags put
together, secrets redacted. With --origin each value says where it comes from. Mistakes are listed
after the values; the exit status is then 2.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, wrong := a.config()
			if c == nil {
				return wrong
			}
			if err := a.showConfig(c, origin, changed); err != nil {
				return err
			}
			return wrong
		},
	}
	cmd.Flags().BoolVar(&origin, "origin", false, "say where each value comes from")
	cmd.Flags().BoolVar(&changed, "changed", false, "leave out what is at its default; with --origin")
	return cmd
}

func (a *app) showConfig(c *config.Config, origin, changed bool) error {
	if !origin {
		text, err := config.YAML(c)
		if err != nil {
			return err
		}
		return a.print(config.Tree(c), func(p *page) { p.printf("%s", text) })
	}
	values := []setValue{}
	t := newTable("SETTING", "VALUE", "ORIGIN")
	for _, s := range config.Settings() {
		o := c.Origin(s.Path)
		if changed && o.Layer == config.FromDefault {
			continue
		}
		values = append(values, setValue{
			Setting: s.Path, Value: s.Value(c), Layer: o.Layer.String(),
			Origin: o.String(),
		})
		shown, from := cell{text: s.Show(c)}, cell{text: o.String()}
		if shown.text == "" && s.Unset != "" {
			shown = cell{"(" + s.Unset + ")", dim}
		}
		if o.Layer == config.FromDefault {
			from.style = dim
		}
		t.row(s.Path, shown, from)
	}
	return a.print(values, func(p *page) { p.table(t) })
}

func newConfigSchemaCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of sluice.yaml",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			enc := json.NewEncoder(a.out)
			enc.SetEscapeHTML(false)
			if a.output != "jsonl" {
				enc.SetIndent("", "  ")
			}
			return enc.Encode(config.Schema())
		},
	}
}

func newConfigReferenceCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "reference",
		Short: "Print the page of all settings in Markdown",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			ref := config.Reference()
			return a.print(map[string]string{"markdown": ref}, func(p *page) { p.printf("%s", ref) })
		},
	}
}
