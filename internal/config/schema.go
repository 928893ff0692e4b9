package config

import (
	"reflect"
	"strings"
)

// Schema is the JSON Schema (draft 2020-12) of the file, for editors and for checks before a
// deployment.
func Schema() map[string]any {
	root := object("Configuration of sluice")
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "sluice.yaml"
	for _, s := range description().sections {
		parent, name := parentOf(root, s.Path)
		parent[name] = object(s.Doc)
	}
	for _, s := range description().settings {
		if s.EnvOnly {
			continue // it does not stand in the file
		}
		parent, name := parentOf(root, s.Path)
		parent[name] = s.schema()
	}
	root["required"] = []string{"outbox", "redis", "kafka"}
	return root
}

func object(doc string) map[string]any {
	return map[string]any{
		"type": "object", "description": doc, "additionalProperties": false,
		"properties": map[string]any{},
	}
}

func parentOf(root map[string]any, path string) (properties map[string]any, name string) {
	properties = root["properties"].(map[string]any)
	names := strings.Split(path, ".")
	for _, n := range names[:len(names)-1] {
		properties = properties[n].(map[string]any)["properties"].(map[string]any)
	}
	return properties, names[len(names)-1]
}

func (s Setting) schema() map[string]any {
	doc := s.Doc
	if s.Unset != "" {
		doc += " Not set: " + s.Unset + "."
	}
	m := map[string]any{"description": doc}
	element := m
	if s.typ.Kind() == reflect.Slice {
		element = map[string]any{}
		m["type"], m["items"] = "array", element
	}
	switch reflect.Zero(s.typ).Interface().(type) {
	case string, []string:
		element["type"] = "string"
	case int, []int:
		element["type"] = "integer"
		if s.Min != "" {
			element["minimum"] = s.bound(s.Min)
		}
		if s.Max != "" {
			element["maximum"] = s.bound(s.Max)
		}
	case bool:
		element["type"] = "boolean"
	case Size:
		element["type"] = []string{"string", "integer"}
		element["pattern"] = `^\d+\s*(([KkMmGg]i?)?[Bb])?$`
	case Duration:
		element["type"] = "string"
		element["pattern"] = durationPattern
		if s.Off {
			element["pattern"] = durationPattern + "|^off$"
		}
	}
	if len(s.Enum) > 0 {
		element["enum"] = s.Enum
	}
	if s.Default != "" {
		c := &Config{}
		v, err := s.parse(s.Default)
		if err != nil {
			panic("config: default of " + s.Path + ": " + err.Error())
		}
		s.value(c).Set(v)
		m["default"] = s.Value(c)
	}
	return m
}

const durationPattern = `^(\d+d)?(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))*$`
