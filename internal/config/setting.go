package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// EnvPrefix begins the name of every environment variable of a setting.
const EnvPrefix = "SLUICE_"

// Setting is one leaf of Config.
type Setting struct {
	Path    string   // relay.dead_letter.topic
	Env     string   // SLUICE_RELAY_DEAD_LETTER_TOPIC
	Doc     string   // one sentence
	Default string   // as one would write it in the environment
	Unset   string   // what an empty or zero value means; "" if nothing special
	Enum    []string // allowed values, of each element for a list
	Min     string
	Max     string
	Off     bool // a duration that takes the word off
	EnvOnly bool // a secret: from the environment alone, never printed
	URL     bool // a URL whose password is never printed

	typ   reflect.Type
	index []int
}

// Section is an inner node of Config.
type Section struct {
	Path string
	Doc  string
}

var description = sync.OnceValue(func() (d struct {
	settings []Setting
	sections []Section
},
) {
	var walk func(t reflect.Type, path string, index []int)
	walk = func(t reflect.Type, path string, index []int) {
		for i := range t.NumField() {
			f := t.Field(i)
			if !f.IsExported() {
				continue
			}
			p := f.Tag.Get("yaml")
			if path != "" {
				p = path + "." + p
			}
			at := append(slices.Clone(index), i)
			if f.Type.Kind() == reflect.Struct {
				d.sections = append(d.sections, Section{Path: p, Doc: f.Tag.Get("doc")})
				walk(f.Type, p, at)
				continue
			}
			s := Setting{
				Path: p, Env: EnvPrefix + strings.ToUpper(strings.ReplaceAll(p, ".", "_")),
				Doc: f.Tag.Get("doc"), Default: f.Tag.Get("default"), Unset: f.Tag.Get("unset"),
				Min: f.Tag.Get("min"), Max: f.Tag.Get("max"), Off: f.Tag.Get("off") == "true",
				EnvOnly: f.Tag.Get("secret") == "env", URL: f.Tag.Get("secret") == "url",
				typ: f.Type, index: at,
			}
			if e := f.Tag.Get("enum"); e != "" {
				s.Enum = strings.Split(e, ",")
			}
			d.settings = append(d.settings, s)
		}
	}
	walk(reflect.TypeFor[Config](), "", nil)
	return d
})

// Settings lists every setting in the order of the file.
func Settings() []Setting { return slices.Clone(description().settings) }

// Sections lists every section in the order of the file.
func Sections() []Section { return slices.Clone(description().sections) }

// setting finds a setting by its path.
func setting(path string) (Setting, bool) {
	for _, s := range description().settings {
		if s.Path == path {
			return s, true
		}
	}
	return Setting{}, false
}

// hasSection reports whether path is a section; the top is the section "".
func hasSection(path string) bool {
	return path == "" || slices.ContainsFunc(description().sections, func(s Section) bool {
		return s.Path == path
	})
}

// children lists the names directly under a section.
func children(section string) []string {
	var names []string
	add := func(path string) {
		if section != "" {
			rest, ok := strings.CutPrefix(path, section+".")
			if !ok {
				return
			}
			path = rest
		}
		if !strings.Contains(path, ".") {
			names = append(names, path)
		}
	}
	for _, s := range description().sections {
		add(s.Path)
	}
	for _, s := range description().settings {
		add(s.Path)
	}
	return names
}

// value is the field of s in c.
func (s Setting) value(c *Config) reflect.Value {
	return reflect.ValueOf(c).Elem().FieldByIndex(s.index)
}

// Show gives the value of s in c as people write it, secrets redacted.
func (s Setting) Show(c *Config) string {
	v := s.value(c)
	if s.EnvOnly {
		if v.String() == "" {
			return ""
		}
		return redacted
	}
	if s.URL {
		return RedactURL(v.String())
	}
	return format(v)
}

// Value gives the value of s in c for JSON: secrets redacted, sizes and durations as text.
func (s Setting) Value(c *Config) any {
	switch v := s.value(c); v.Interface().(type) {
	case int, bool:
		return v.Interface()
	case []string, []int:
		if v.Len() == 0 {
			return []any{}
		}
		return v.Interface()
	default:
		return s.Show(c)
	}
}

// Type names the kind of value for people: text, whole number, size …
func (s Setting) Type() string { return kindName(s.typ, s.Off) }

func (s Setting) String() string { return fmt.Sprintf("%s (%s)", s.Path, s.Type()) }
