package main

import (
	"flag"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// with is the default configuration and flags.
func with(t *testing.T, args ...string) config {
	t.Helper()
	var cfg config
	f := flag.NewFlagSet("scale", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	cfg.register(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestConfig(t *testing.T) {
	t.Run("each input is a flag, and says where it comes from", func(t *testing.T) {
		for i := range reflect.TypeFor[config]().NumField() {
			field := reflect.TypeFor[config]().Field(i)
			from := field.Tag.Get("from")
			if !slices.Contains([]string{"measured", "assumed", "given", "Kafka", "Sluice"}, from) ||
				field.Tag.Get("doc") == "" {
				t.Errorf("%s: from %q", field.Name, from)
			}
		}
	})
	t.Run("the defaults can be run", func(t *testing.T) {
		if err := new(config).check(); err == nil {
			t.Error("nothing at all passes")
		}
		cfg := with(t)
		if err := cfg.check(); err != nil {
			t.Error(err)
		}
	})
	for arg, want := range map[string]string{
		"-join=nobody": "set client or leaders", "-brokers=31": "as many brokers in each",
		"-relays=1":           "2 relays",
		"-broker-session=10s": "-txn-timeout", "-cores=0": "above 0", "-lanes=-1": "above 0",
		"-rate=0": "above 0",
	} {
		t.Run(arg, func(t *testing.T) {
			cfg := with(t, arg)
			if err := cfg.check(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q in it", err, want)
			}
		})
	}
}
