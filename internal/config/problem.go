package config

import (
	"fmt"
	"strings"
)

// Layer is where a value comes from. A later layer wins over an earlier one.
type Layer int

// The layers, in order of precedence.
const (
	FromDefault Layer = iota
	FromFile
	FromEnvironment
	FromSet
	FromFlag
)

var layerNames = []string{"default", "file", "environment", "--set", "flag"}

func (l Layer) String() string { return layerNames[l] }

// Origin says where the value of a setting comes from.
type Origin struct {
	Layer Layer
	// Where is the place within the layer: sluice.yaml:9:3, SLUICE_RELAY_ROUTE, --delivery. Empty for
	// a default.
	Where string
}

func (o Origin) String() string {
	switch o.Layer {
	case FromDefault:
		return "default"
	case FromSet:
		return "--set"
	default:
		return o.Where
	}
}

// Problem is one mistake in the configuration.
type Problem struct {
	// Where is the place: sluice.yaml:9:3, SLUICE_RELAY_ROUTE, --set relay.route. Empty when the
	// mistake is something that is nowhere.
	Where string
	// Text says what is wrong and what was expected.
	Text string
}

func (p Problem) String() string {
	if p.Where == "" {
		return p.Text
	}
	return p.Where + ": " + p.Text
}

// Error is every mistake that was found, one a line. The command ends with status 2.
type Error struct{ Problems []Problem }

func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// problems collects mistakes.
type problems []Problem

func (ps *problems) add(where, format string, args ...any) {
	*ps = append(*ps, Problem{Where: where, Text: fmt.Sprintf(format, args...)})
}

func (ps problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	return &Error{Problems: ps}
}

// Problemf is a mistake found in the value of a setting after loading, by a client that cannot be
// built from it for example. It carries the place the value comes from.
func (c *Config) Problemf(path, format string, args ...any) *Error {
	var ps problems
	c.complain(&ps, path, format, args...)
	return &Error{Problems: ps}
}

// complain adds a mistake in the value of path.
func (c *Config) complain(ps *problems, path, format string, args ...any) {
	ps.add(c.where(path), path+": "+format, args...)
}

// where is the place of the value of path, for a Problem.
func (c *Config) where(path string) string {
	if o := c.Origin(path); o.Layer != FromSet {
		return o.Where
	}
	return "--set"
}
