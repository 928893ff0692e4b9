package config

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// The schema has every setting that can stand in the file, with its default among what it allows.
func TestSchemaHasEverySetting(t *testing.T) {
	if _, err := json.Marshal(Schema()); err != nil {
		t.Fatal(err)
	}
	for _, s := range Settings() {
		node := Schema()
		for name := range strings.SplitSeq(s.Path, ".") {
			next, ok := node["properties"].(map[string]any)[name]
			if !ok {
				if !s.EnvOnly {
					t.Errorf("%s is not in the schema", s.Path)
				}
				node = nil
				break
			}
			node = next.(map[string]any)
		}
		if node == nil {
			continue
		}
		if s.EnvOnly {
			t.Errorf("%s is in the schema, though it does not stand in the file", s.Path)
		}
		pattern, ok := node["pattern"].(string)
		if !ok {
			continue
		}
		if p := regexp.MustCompile(pattern); !p.MatchString(s.Default) || p.MatchString("16M") ||
			p.MatchString("soon") {
			t.Errorf("%s: the pattern %s does not fit", s.Path, pattern)
		}
	}
}

func TestReferenceHasEverySetting(t *testing.T) {
	page := Reference()
	for _, s := range Settings() {
		if !strings.Contains(page, "| `"+s.Path+"` |") {
			t.Errorf("%s is missing", s.Path)
		}
	}
}
