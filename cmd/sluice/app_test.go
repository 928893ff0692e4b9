package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/sluice-outbox/sluice/internal/config"
)

// TestLogNamesSettings: the libraries know fields, the reader of the log knows the file.
func TestLogNamesSettings(t *testing.T) {
	var out bytes.Buffer
	c := &config.Config{}
	c.Telemetry.Log.Level, c.Telemetry.Log.Format = "info", "json"
	log := (&app{err: &out}).logger(c)
	log.Info("halted", "reason", "set Config.Topics.OnChanged")
	log.Info("failed", "error", errors.New("see Config.DeadLetter.On"), "shard", 3)
	for _, want := range []string{
		"set Config.Topics.OnChanged (relay.topics.on_changed)",
		"see Config.DeadLetter.On (relay.dead_letter.on)", `"shard":3`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %s", want, out.String())
		}
	}
}
