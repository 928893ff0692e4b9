package testenv

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/process"
)

// Settings are settings of the section relay of the configuration file, by their names there.
type Settings map[string]any

// Process is a command of sluice, a relay in most cases, in a process that can be killed and
// stopped.
type Process struct {
	*process.Process
	// Instance is its name in status and positions.
	Instance string
}

// Spawn starts `sluice relay` on this environment, with further arguments. It is killed when the
// test ends at the latest; if the test fails, its last output is shown.
func (w *Env) Spawn(s Settings, args ...string) *Process {
	w.t.Helper()
	return w.SpawnCommand("relay", s, args...)
}

// SpawnCommand is Spawn for another command of sluice.
func (w *Env) SpawnCommand(command string, s Settings, args ...string) *Process {
	w.t.Helper()
	w.spawned++
	p := &Process{Instance: fmt.Sprintf("%s-%d", command, w.spawned)}
	var err error
	p.Process, err = process.Start(process.Command{
		Name: p.Instance, Path: integration.BuildSluice(w.t),
		Args: append([]string{command, "-c", w.ConfigFile(p.Instance, s)}, args...),
	})
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	integration.CloseAtEnd(w.t, p)
	return p
}

// ConfigFile writes the configuration file of a relay on this environment, and returns its name.
func (w *Env) ConfigFile(instance string, s Settings) string {
	w.t.Helper()
	settings := Settings{"route": w.Topic(), "instance": instance, "housekeeping_interval": "200ms"}
	for k, v := range s {
		settings[k] = v
	}
	// JSON is YAML.
	text, err := json.MarshalIndent(map[string]any{
		"outbox":    map[string]any{"name": w.Outbox, "shards": w.Shards},
		"redis":     w.redisSettings(),
		"kafka":     map[string]any{"brokers": w.brokers},
		"http":      map[string]any{"listen": "off"},
		"telemetry": map[string]any{"log": map[string]any{"format": "text"}},
		"relay":     settings,
	}, "", "  ")
	if err != nil {
		w.t.Fatalf("configuration: %v", err)
	}
	if w.dir == "" {
		if w.dir, err = os.MkdirTemp("", "sluice-env-"); err != nil {
			w.t.Fatalf("%v", err)
		}
		w.t.Cleanup(func() {
			if err := os.RemoveAll(w.dir); err != nil {
				w.t.Logf("%v", err)
			}
		})
	}
	file := filepath.Join(w.dir, instance+".yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		w.t.Fatalf("%v", err)
	}
	return file
}

func (w *Env) redisSettings() map[string]any {
	o := w.options
	switch {
	case o.MasterName != "":
		return map[string]any{"sentinel": map[string]any{"master": o.MasterName, "addrs": o.Addrs}}
	case len(o.Addrs) > 1:
		return map[string]any{"addrs": o.Addrs}
	}
	u := url.URL{Scheme: "redis", Host: o.Addrs[0], Path: fmt.Sprintf("/%d", o.DB)}
	if o.Username != "" || o.Password != "" {
		u.User = url.UserPassword(o.Username, o.Password)
	}
	return map[string]any{"url": u.String()}
}
