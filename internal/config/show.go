package config

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
)

// YAML writes the configuration as a file that gives the same configuration again, but for its
// secrets: those of the environment are left out, and a password inside a URL is redacted.
func YAML(c *Config) ([]byte, error) {
	var root yaml.MapSlice
	for _, s := range description().settings {
		if !s.EnvOnly {
			root = insert(root, strings.Split(s.Path, "."), s.Value(c))
		}
	}
	return yaml.Marshal(root)
}

// insert adds a value below the names. Settings come section by section, so only the last item can
// be the section.
func insert(m yaml.MapSlice, names []string, value any) yaml.MapSlice {
	if len(names) == 1 {
		return append(m, yaml.MapItem{Key: names[0], Value: value})
	}
	if len(m) == 0 || m[len(m)-1].Key != names[0] {
		m = append(m, yaml.MapItem{Key: names[0], Value: yaml.MapSlice{}})
	}
	last := &m[len(m)-1]
	last.Value = insert(last.Value.(yaml.MapSlice), names[1:], value)
	return m
}

// Reference is the page of all settings in Markdown.
func Reference() string {
	var b strings.Builder
	b.WriteString("| setting | value | default | meaning |\n|---|---|---|---|\n")
	for _, s := range description().settings {
		kind := s.Type()
		if len(s.Enum) > 0 {
			kind = strings.Join(s.Enum, ", ")
			if strings.HasPrefix(s.Type(), "list") {
				kind = "list of " + kind
			}
		}
		if s.EnvOnly {
			kind = "`" + s.Env + "`"
		}
		def := ""
		switch {
		case s.Default != "":
			def = "`" + s.Default + "`"
		case s.Unset != "":
			def = s.Unset
		case s.Type() == "true or false":
			def = "`false`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", s.Path, kind, escapeCell(def), escapeCell(s.Doc))
	}
	return b.String()
}

func escapeCell(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", ">", "&gt;").Replace(s)
}

// Tree is what YAML writes, for JSON.
func Tree(c *Config) map[string]any {
	root := map[string]any{}
	for _, s := range description().settings {
		if s.EnvOnly {
			continue
		}
		node := root
		names := strings.Split(s.Path, ".")
		for _, name := range names[:len(names)-1] {
			next, ok := node[name].(map[string]any)
			if !ok {
				next = map[string]any{}
				node[name] = next
			}
			node = next
		}
		node[names[len(names)-1]] = s.Value(c)
	}
	return root
}
