package config

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
)

// DefaultFile is read when no file is named, if it is there.
const DefaultFile = "sluice.yaml"

// FileVariable names the file when no flag does.
const FileVariable = EnvPrefix + "CONFIG"

// Source is everything a configuration is made from. Reading it twice gives the same result.
type Source struct {
	// File is the path of the YAML file. Empty: $SLUICE_CONFIG, else sluice.yaml if there is one.
	File string
	// Environ is the environment as os.Environ gives it.
	Environ []string
	// Set holds the arguments of --set: path=value.
	Set []string
	// Flags are settings that have a flag of their own.
	Flags []Flag
	// Lenient leaves out the checks of what is required and of how values fit together, for
	// commands that can do something useful without.
	Lenient bool
}

// Flag is one flag that sets a setting.
type Flag struct{ Name, Path, Value string }

// Load reads all layers. When the error is an *Error, it lists every mistake, and the configuration
// holds what could be read: enough to show it, not to run with it.
func Load(src Source) (*Config, error) {
	c := &Config{origins: map[string]Origin{}, failed: map[string]bool{}}
	for _, s := range description().settings {
		if s.Default != "" {
			v, err := s.parse(s.Default)
			if err != nil {
				return nil, fmt.Errorf("config: default of %s: %w", s.Path, err)
			}
			s.value(c).Set(v)
		}
	}
	var ps problems
	file, err := c.readFile(src, &ps)
	if err != nil {
		return nil, err
	}
	c.readEnvironment(src.Environ, &ps)
	for _, arg := range src.Set {
		c.readSet(arg, &ps)
	}
	for _, f := range src.Flags {
		s, ok := setting(f.Path)
		if !ok {
			return nil, fmt.Errorf("config: flag --%s is for %s, which is no setting", f.Name, f.Path)
		}
		c.assignText(s, f.Value, Origin{FromFlag, "--" + f.Name}, &ps)
	}
	if !src.Lenient && !c.failed[""] {
		c.checkAll(file, &ps)
	}
	return c, ps.err()
}

// readFile reads the YAML file and gives its name, or "" if there is none.
func (c *Config) readFile(src Source, ps *problems) (string, error) {
	name, named := src.File, "-c"
	if name == "" {
		name, named = lookup(src.Environ, FileVariable), FileVariable
	}
	if name == "" {
		name, named = DefaultFile, ""
	}
	text, err := readFile(name)
	if errors.Is(err, fs.ErrNotExist) && named == "" {
		return "", nil
	}
	if err != nil {
		where := named
		if where == "" {
			where = name
		}
		ps.add(where, "cannot read the configuration: %v", err)
		c.failed[""] = true // what it would have set is not missing
		return name, nil
	}
	c.readYAML(name, text, ps)
	return name, nil
}

func lookup(environ []string, name string) string {
	for _, kv := range slices.Backward(environ) {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// readSet takes one --set.
func (c *Config) readSet(arg string, ps *problems) {
	path, value, ok := strings.Cut(arg, "=")
	if !ok {
		ps.add("--set", "expected path=value, for example relay.delivery=at-least-once, got %q", arg)
		return
	}
	s, ok := setting(path)
	if !ok {
		if hasSection(path) {
			ps.add("--set", "%s is a section: set one of its settings, for example %s", path, firstOf(path))
			return
		}
		ps.add("--set", "unknown setting %q%s", path, suggestPath(path))
		return
	}
	if s.EnvOnly {
		ps.add("--set", "%s is a secret and every user of the machine can read a command line: set %s "+
			"or use %s_file", path, s.Env, path)
		return
	}
	c.assignText(s, value, Origin{FromSet, "--set"}, ps)
}

// firstOf gives the first setting of a section.
func firstOf(section string) string {
	for _, s := range description().settings {
		if strings.HasPrefix(s.Path, section+".") && !s.EnvOnly {
			return s.Path
		}
	}
	return section
}

// suggestPath is didYouMean over all settings, by the whole path and by the last name.
func suggestPath(path string) string {
	var paths []string
	last := path[strings.LastIndexByte(path, '.')+1:]
	for _, s := range description().settings {
		paths = append(paths, s.Path)
		if strings.HasSuffix(s.Path, "."+last) {
			return fmt.Sprintf(" (did you mean %q?)", s.Path)
		}
	}
	return didYouMean(path, paths)
}

// assignText sets s from text.
func (c *Config) assignText(s Setting, text string, o Origin, ps *problems) {
	v, err := s.parse(text)
	if err != nil {
		c.failed[s.Path] = true
		if s.EnvOnly || s.URL {
			ps.add(o.Where, "%s: %v", s.Path, err)
		} else {
			ps.add(o.Where, "%s: %s", s.Path, sayGot(err, text))
		}
		return
	}
	c.assign(s, v, o)
}

// sayGot puts the value into the error of a parser, before a suggestion if there is one.
func sayGot(err error, text string) string {
	head, tail, found := strings.Cut(err.Error(), " (did you mean")
	head = fmt.Sprintf("%s, got %q", head, clip(text))
	if found {
		head += " (did you mean" + tail
	}
	return head
}

func (c *Config) assign(s Setting, v reflect.Value, o Origin) {
	s.value(c).Set(v)
	c.origins[s.Path] = o
}

// Origin says where the value of the setting at path comes from.
func (c *Config) Origin(path string) Origin { return c.origins[path] }

// isSet reports whether the setting at path comes from anywhere but its default.
func (c *Config) isSet(path string) bool { return c.origins[path].Layer != FromDefault }

// Ignored lists environment variables that begin with SLUICE_ and are no setting. They are far
// enough from every setting's name not to be refused.
func (c *Config) Ignored() []string { return slices.Clone(c.ignored) }
