package config

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-outbox/sluice/relay"
)

// Every setting of the section relay must change relay.Config: a setting without effect is a
// promise not kept. And every field of relay.Config must be reachable from the file, but for what
// the command itself provides.
func TestRelaySettingsHaveAnEffect(t *testing.T) {
	file := write(t, minimal)
	def := relayConfig(t, Source{File: file})
	changed := map[string]bool{}
	for _, s := range Settings() {
		if !strings.HasPrefix(s.Path, "relay.") && s.Path != "outbox.name" {
			continue
		}
		text := other(t, s)
		if s.typ.Kind() == reflect.String && len(s.Enum) == 0 {
			text = "other"
		}
		switch s.Path {
		case "relay.transaction_timeout":
			text = "11s"
		case "relay.housekeeping_interval":
			text = "2s"
		case "relay.max_in_flight":
			text = "128MiB"
		}
		got := relayConfig(t, Source{File: file, Set: []string{s.Path + "=" + text}})
		if cmp.Equal(def, got) {
			t.Errorf("%s=%s has no effect", s.Path, text)
		}
		walkFields(reflect.ValueOf(def), reflect.ValueOf(got), "", func(path string, a, b reflect.Value) {
			if !reflect.DeepEqual(a.Interface(), b.Interface()) {
				changed[path] = true
			}
		})
	}
	walkFields(reflect.ValueOf(def), reflect.ValueOf(def), "", func(path string, _, _ reflect.Value) {
		switch path {
		case "Redis", "Kafka", "Logger", "Observer":
		default:
			if !changed[path] {
				t.Errorf("no setting reaches relay.Config.%s", path)
			}
		}
	})
}

// walkFields visits the fields of two structs, those of nested structs with their path.
func walkFields(a, b reflect.Value, path string, visit func(path string, a, b reflect.Value)) {
	for i := range a.NumField() {
		p := strings.TrimPrefix(path+"."+a.Type().Field(i).Name, ".")
		if a.Field(i).Kind() == reflect.Struct {
			walkFields(a.Field(i), b.Field(i), p, visit)
		} else {
			visit(p, a.Field(i), b.Field(i))
		}
	}
}

func relayConfig(t *testing.T, src Source) relay.Config {
	t.Helper()
	c, err := Load(src)
	if err != nil {
		t.Fatal(err)
	}
	rc, err := RelayConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	return rc
}

// The words of the settings are those of the relay, whose default they share.
func TestRelayWords(t *testing.T) {
	for path, parse := range map[string]func(string) error{
		"relay.delivery": func(s string) error { _, err := relay.ParseDelivery(s); return err },
		"relay.format":   func(s string) error { _, err := relay.ParseFormat(s); return err },
		"relay.on_mismatch": func(s string) error {
			_, err := relay.ParseMismatchPolicy(s)
			return err
		},
		"relay.topics.on_unknown": func(s string) error {
			_, err := relay.ParseUnknownTopicPolicy(s)
			return err
		},
		"relay.topics.on_changed": func(s string) error {
			_, err := relay.ParseTopicChangePolicy(s)
			return err
		},
	} {
		s, _ := setting(path)
		for _, word := range s.Enum {
			if err := parse(word); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}

func TestEmptyListOfReasonsIsNotTheDefault(t *testing.T) {
	c, err := Load(Source{File: write(t, minimal+"relay: {dead_letter: {on: []}}\n")})
	if err != nil {
		t.Fatal(err)
	}
	rc, err := RelayConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	if rc.DeadLetter.On == nil || len(rc.DeadLetter.On) != 0 {
		t.Errorf("got %#v, want an empty list that is not nil", rc.DeadLetter.On)
	}
}
