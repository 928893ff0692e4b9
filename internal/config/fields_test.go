package config

import (
	"slices"
	"testing"
)

func TestNameSettings(t *testing.T) {
	for field, setting := range settingOf {
		if !slices.ContainsFunc(Settings(), func(s Setting) bool { return s.Path == setting }) {
			t.Errorf("%s is no setting", setting)
		}
		got, want := NameSettings("set "+field+" to x"), "set "+field+" ("+setting+") to x"
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := NameSettings("no field"); got != "no field" {
		t.Error(got)
	}
}
