package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// minimal is the least configuration that Load accepts.
const minimal = `
outbox: {name: orders}
redis: {url: redis://localhost:6379/0}
kafka: {brokers: [localhost:9092]}
`

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "sluice.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// other gives a legal value of s that is not its default, as text.
func other(t *testing.T, s Setting) string {
	t.Helper()
	if len(s.Enum) > 0 {
		for _, e := range s.Enum {
			if e != s.Default {
				return e
			}
		}
	}
	switch reflect.Zero(s.typ).Interface().(type) {
	case string:
		return "other.example:1"
	case bool:
		return fmt.Sprint(s.Default != "true")
	case int:
		return "7"
	case Size:
		return "2MiB"
	case Duration:
		if s.Max != "" {
			return s.Max
		}
		return "7s"
	case []string:
		return "a.example:1,b.example:2"
	case []int:
		return "2,0"
	}
	t.Fatalf("%s: no other value for type %s", s.Path, s.typ)
	return ""
}

// A setting that is described must be reachable through every layer, and the later layer must win.
// The test walks the description, so a field added to a struct is under test at once.
func TestEverySettingThroughEveryLayer(t *testing.T) {
	for _, s := range Settings() {
		t.Run(s.Path, func(t *testing.T) {
			if s.Doc == "" || !strings.HasSuffix(s.Doc, ".") {
				t.Errorf("doc is %q: want a sentence", s.Doc)
			}
			text := other(t, s)
			want, err := s.parse(text)
			if err != nil {
				t.Fatalf("parse %q: %v", text, err)
			}
			if got, err := s.parse(format(want)); err != nil ||
				!reflect.DeepEqual(got.Interface(), want.Interface()) {
				t.Errorf("format and parse: got %v, %v, want %v", got, err, want)
			}
			check := func(layer Layer, src Source) {
				t.Helper()
				src.Lenient = true
				c, err := Load(src)
				if err != nil {
					t.Fatalf("%s: %v", layer, err)
				}
				if got := s.value(c).Interface(); !reflect.DeepEqual(got, want.Interface()) {
					t.Errorf("%s: got %v, want %v", layer, got, want)
				}
				if o := c.Origin(s.Path); o.Layer != layer {
					t.Errorf("origin is %v, want %v", o.Layer, layer)
				}
			}
			empty := write(t, "")
			check(FromEnvironment, Source{File: empty, Environ: []string{s.Env + "=" + text}})
			check(FromFlag, Source{File: empty, Flags: []Flag{{"x", s.Path, text}}})
			if s.EnvOnly {
				return
			}
			check(FromSet, Source{File: empty, Set: []string{s.Path + "=" + text}})
			file := write(t, nested(t, s, text))
			check(FromFile, Source{File: file})

			// Each layer over the one before it.
			wrong := s.Default
			if wrong == "" {
				return
			}
			check(FromEnvironment, Source{
				File:    write(t, nested(t, s, wrong)),
				Environ: []string{s.Env + "=" + text},
			})
			check(FromSet, Source{
				File: empty, Environ: []string{s.Env + "=" + wrong},
				Set: []string{s.Path + "=" + text},
			})
			check(FromFlag, Source{
				File: empty, Set: []string{s.Path + "=" + wrong},
				Flags: []Flag{{"x", s.Path, text}},
			})
		})
	}
}

// nested writes a file with one setting.
func nested(t *testing.T, s Setting, text string) string {
	t.Helper()
	v, err := s.parse(text)
	if err != nil {
		t.Fatal(err)
	}
	c := &Config{}
	s.value(c).Set(v)
	out, err := yaml.Marshal(insert(nil, strings.Split(s.Path, "."), s.Value(c)))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// The defaults must be valid, and the bounds parse.
func TestDefaults(t *testing.T) {
	c, err := Load(Source{File: write(t, minimal)})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range Settings() {
		if err := s.check(s.value(c)); err != nil {
			t.Errorf("default of %s: %v", s.Path, err)
		}
		for _, b := range []string{s.Min, s.Max} {
			if b != "" {
				s.bound(b)
			}
		}
	}
	if c.Relay.MaxBytes != 16<<20 || c.Relay.Trim.Keep.String() != "1h" || c.Outbox.Shards != 4 {
		t.Errorf("unexpected defaults: %+v", c)
	}
}

// What YAML writes is read back to the same values.
func TestYAMLRoundTrip(t *testing.T) {
	c, err := Load(Source{
		File: write(t, minimal),
		Set:  []string{"relay.trim.keep=off", "relay.assign=1,3", "relay.route=a.{{.Type}}"},
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := YAML(c)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Load(Source{File: write(t, string(text))})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, s := range Settings() {
		if s.Show(c) != s.Show(again) {
			t.Errorf("%s: %q became %q", s.Path, s.Show(c), s.Show(again))
		}
	}
}

func TestNoVariableStandsForTwoSettings(t *testing.T) {
	seen := map[string]string{}
	for _, s := range Settings() {
		if seen[s.Env] != "" {
			t.Errorf("%s is both %s and %s", s.Env, seen[s.Env], s.Path)
		}
		seen[s.Env] = s.Path
	}
}
