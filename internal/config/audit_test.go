package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/consistency"
)

// Every setting of the section audit must change consistency.Config, but for those that say when
// and from where; and an audit must be told everything of the section relay that makes records what
// they are.
func TestAuditSettingsHaveAnEffect(t *testing.T) {
	file := write(t, minimal)
	audit := func(set ...string) consistency.Config {
		t.Helper()
		c, err := Load(Source{File: file, Set: set})
		if err != nil {
			t.Fatal(err)
		}
		return AuditConfig(c)
	}
	def := audit()
	changed := map[string]bool{}
	paths := map[string]string{
		"outbox.name": "other", "relay.route": "other", "relay.format": "cloudevents-binary",
		"relay.source": "other", "relay.tombstones": "true",
		"relay.dead_letter.topic": "other", "relay.delivery": "at-least-once",
	}
	for _, s := range Settings() {
		if strings.HasPrefix(s.Path, "audit.") && s.Path != "audit.schedule" &&
			s.Path != "audit.replica" {
			paths[s.Path] = other(t, s)
		}
	}
	paths["audit.on_duplicate"] = "report"
	for path, text := range paths {
		got := audit(path + "=" + text)
		if reflect.DeepEqual(def, got) {
			t.Errorf("%s=%s has no effect", path, text)
		}
		walkFields(reflect.ValueOf(def), reflect.ValueOf(got), "",
			func(field string, a, b reflect.Value) {
				if !reflect.DeepEqual(a.Interface(), b.Interface()) {
					changed[field] = true
				}
			})
	}
	for _, field := range []string{
		"Outbox", "Route", "Format", "Source", "Tombstones",
		"DeadLetterTopic", "Watch", "Settle", "AllowDuplicates", "Rate", "Effort",
	} {
		if !changed[field] {
			t.Errorf("no setting reaches consistency.Config.%s", field)
		}
	}
}

func TestAuditDefaults(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		settle time.Duration
		allow  bool
	}{
		"":                                 {30 * time.Second, false},
		"relay: {delivery: at-least-once}": {30 * time.Second, true},
		"relay: {delivery: at-least-once}\naudit: {on_duplicate: drift, settle: 0s}": {-1, false},
		"audit: {on_duplicate: report, settle: 5s, schedule: '@every 15m'}": {
			5 * time.Second,
			true,
		},
	} {
		c := AuditConfig(load(t, minimal+text))
		if c.Settle != want.settle || c.AllowDuplicates != want.allow {
			t.Errorf("%s: settle %s, duplicates %v, want %+v", text, c.Settle, c.AllowDuplicates, want)
		}
	}
}

// Audits on a schedule take their time, unless they are told not to; one by hand does not.
func TestAuditEffort(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][2]float64{
		"":                     {0, consistency.GentleEffort},
		"audit: {effort: 100}": {1, 1}, "audit: {effort: 5}": {0.05, 0.05},
	} {
		c := load(t, minimal+text)
		if got := [2]float64{AuditConfig(c).Effort, ScheduledAuditConfig(c).Effort}; got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// A replica takes database and credentials of the primary, unless its URL has its own.
func TestReplicaClient(t *testing.T) {
	t.Parallel()
	rest := "outbox: {name: o}\nkafka: {brokers: [h:1]}\n"
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := ReplicaClient(load(t, minimal)); r != nil || err != nil {
		t.Errorf("without: %v %v", r, err)
	}
	server := miniredis.RunT(t)
	server.RequireUserAuth("relay", "hunter2")
	server.RequireUserAuth("auditor", "other")
	for text, db := range map[string]int{
		rest + "redis: {url: redis://h/3, username: relay, password_file: " + secret +
			"}\naudit: {replica: redis://" + server.Addr() + "}": 3,
		rest + "redis: {url: redis://relay:hunter2@h}\naudit: {replica: redis://" + server.Addr() +
			"/2}": 2,
		rest + "redis: {url: redis://h, username: nobody, password_file: " + secret +
			"}\naudit: {replica: redis://auditor:other@" + server.Addr() + "}": 0,
		rest + "redis: {username: relay, password_file: " + secret +
			", db: 4, sentinel: {master: m, addrs: [h:1]}}\naudit: {replica: redis://" + server.Addr() +
			"}": 4,
	} {
		r, err := ReplicaClient(load(t, text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if err := r.Ping(t.Context()).Err(); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if got := r.(*redis.Client).Options().DB; got != db {
			t.Errorf("%s: database %d, want %d", text, got, db)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The password of the replica's URL is shown as little as that of the primary's.
func TestReplicaIsRedacted(t *testing.T) {
	t.Parallel()
	c := load(t, minimal, "SLUICE_AUDIT_REPLICA=redis://u:hunter2@h")
	text, err := YAML(c)
	if err != nil || strings.Contains(string(text), "hunter2") ||
		!strings.Contains(string(text), "u:redacted@h") {
		t.Errorf("%v\n%s", err, text)
	}
}
