package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each case is a file (or other layers) and the exact lines of the error. The name sluice.yaml is
// what users see.
func TestMistakes(t *testing.T) {
	tests := []struct {
		name, file string
		src        Source
		want       []string
	}{
		{
			name: "unknown field",
			file: "outbox: {name: orders}\nredis: {url: redis://h:1/0}\nkafka:\n  brokers: " +
				"[h:1]\n\nrelay:\n  # comment\n  trim:\n  tempo: 5ms\n  rout: x\n  lingr: 5ms\n",
			want: []string{
				`sluice.yaml:9:3: unknown field "tempo": relay has dead_letter, topics, trim, delivery, ` +
					`route, format, source, tombstones, on_mismatch, max_entries, max_bytes, max_in_flight, ` +
					`lanes, linger, transaction_timeout, session_timeout, housekeeping_interval, ` +
					`drain_timeout, assign, init, instance`,
				`sluice.yaml:10:3: unknown field "rout" (did you mean "route"?)`,
				`sluice.yaml:11:3: unknown field "lingr" (did you mean "linger"?)`,
			},
		},
		{
			name: "several mistakes at once",
			file: "outbox: {name: orders, shards: many}\nredis: {url: redis://h:1/0}\nkafka: {brokers: " +
				"[h:1]}\nrelay:\n  delivery: exactly-onse\n  max_bytes: 16M\n  tombstones: yes\n  trim: " +
				"{keep: 5}\n  dead_letter: {on: [too_larg]}\n",
			want: []string{
				`sluice.yaml:1:32: outbox.shards: expected a whole number, got "many"`,
				`sluice.yaml:5:13: relay.delivery: expected exactly-once or at-least-once, got ` +
					`"exactly-onse" (did you mean "exactly-once"?)`,
				`sluice.yaml:6:14: relay.max_bytes: expected a size with the unit MiB or MB, got "16M"`,
				`sluice.yaml:7:15: relay.tombstones: expected true or false, got "yes"`,
				`sluice.yaml:8:16: relay.trim.keep: expected a duration with a unit, got 5 (did you mean 5s?)`,
				`sluice.yaml:9:22: relay.dead_letter.on: expected undecodable, too_large, no_route, ` +
					`unknown_topic or rejected, got "too_larg" (did you mean "too_large"?)`,
			},
		},
		{
			name: "wrong shapes",
			file: "outbox: orders\nredis: [a]\nkafka: {brokers: h:1}\nrelay: {route: {a: b}, " +
				"max_entries: \"10\", assign: [x], source: 5}\nhttp: {listen: [a]}\n",
			want: []string{
				`sluice.yaml:1:9: outbox: expected a mapping with fields such as name, shards, got "orders"`,
				`sluice.yaml:2:8: redis: expected a mapping with fields such as sentinel, tls, url, got a list`,
				`sluice.yaml:3:18: kafka.brokers: expected a list such as [a, b], got "h:1"`,
				`sluice.yaml:4:16: relay.route: expected text, got a mapping`,
				`sluice.yaml:4:37: relay.max_entries: expected a whole number, got the quoted text "10" ` +
					`(remove the quotes)`,
				`sluice.yaml:4:52: relay.assign: expected a whole number, got "x"`,
				`sluice.yaml:4:64: relay.source: expected text, got the number 5 (put it in quotes)`,
				`sluice.yaml:5:16: http.listen: expected text, got a list`,
			},
		},
		{
			name: "what is required",
			file: "relay: {format: raw}\n",
			want: []string{
				`sluice.yaml: outbox.name is required`,
				`sluice.yaml: redis.url is required (or redis.addrs for a cluster, or redis.sentinel)`,
				`sluice.yaml: kafka.brokers is required`,
			},
		},
		{
			name: "a field in the wrong section",
			file: minimal + "relay: {keep: 1h}\nname: orders\n",
			want: []string{
				`sluice.yaml:5:9: unknown field "keep" (did you mean relay.trim.keep?)`,
				`sluice.yaml:6:1: unknown field "name" (did you mean outbox.name?)`,
			},
		},
		{
			name: "audits",
			file: minimal + "audit:\n  schedule: CRON_TZ=\n  setle: 30s\n  on_duplicate: ignore\n  rate: " +
				"-1\n  replica: http://h\n  watch: ['[']\n",
			want: []string{
				`sluice.yaml:7:3: unknown field "setle" (did you mean "settle"?)`,
				`sluice.yaml:8:17: audit.on_duplicate: expected drift or report, got "ignore"`,
				`sluice.yaml:9:9: audit.rate: expected at least 0, got "-1"`,
				`sluice.yaml:6:13: audit.schedule: expected a cron expression of five fields such as "*/15 ` +
					`* * * *", @hourly or @every 15m, got "CRON_TZ="`,
				`sluice.yaml:10:12: audit.replica: expected redis://host:port/db, rediss://host:port/db or ` +
					`unix:///path, got the scheme "http"`,
				`sluice.yaml:11:10: audit.watch: expected a pattern such as orders.*, got "["`,
			},
		},
		{
			name: "a replica of a cluster",
			file: "outbox: {name: o}\nkafka: {brokers: [h:1]}\nredis: {addrs: [h:1]}\naudit: {replica: " +
				"redis://h:2}\n",
			want: []string{`sluice.yaml:4:18: audit.replica: is one server, and the shards of ` +
				`redis.addrs are on several: leave it out`},
		},
		{
			name: "syntax",
			file: "outbox: {name: orders\nredis: x\n",
			want: []string{`sluice.yaml:2:1: `},
		},
		{
			name: "a duplicate",
			file: minimal + "outbox: {name: b}\n",
			want: []string{`sluice.yaml:5:1: mapping key "outbox" already defined at [2:1]`},
		},
		{
			name: "two documents",
			file: minimal + "---\nrelay: {}\n",
			want: []string{`sluice.yaml:6:6: expected one YAML document, got a second one`},
		},
		{
			name: "a secret in the file",
			file: "outbox: {name: orders}\nredis: {url: redis://h:1/0, password: hunter2}\nkafka: " +
				"{brokers: [h:1]}\n",
			want: []string{`sluice.yaml:2:29: redis.password does not stand in the file: set ` +
				`SLUICE_REDIS_PASSWORD, or name a file with password_file`},
		},
		{
			name: "values that do not fit together",
			file: "outbox: {name: 'or ders'}\nredis:\n  url: http://h:1\n  addrs: [h:1]\n  db: " +
				"2\nkafka:\n  brokers: [h]\n  sasl: {mechanism: plain, token_file: t}\nrelay:\n  route: " +
				"'{{.AggregateKind}}'\n  transaction_timeout: 2s\n  max_in_flight: 1MiB\n  assign: [1, " +
				"1]\n  dead_letter: {topic: 'a b'}\nhttp: {listen: nowhere}\n",
			want: []string{
				`sluice.yaml:1:16: outbox.name: outbox name "or ders": want 1 to 100 of letters, digits, ` +
					`'.', '_' and '-', the first a letter or a digit`,
				`sluice.yaml:4:10: redis.addrs: expected one of redis.url, redis.addrs and redis.sentinel, ` +
					`got 2 of them`,
				`sluice.yaml:3:8: redis.url: expected redis://host:port/db, rediss://host:port/db or ` +
					`unix:///path, got the scheme "http"`,
				`sluice.yaml:5:7: redis.db: goes with redis.sentinel only: in a URL the database is its ` +
					`path, and a cluster has only 0`,
				`sluice.yaml:7:12: kafka.brokers: expected host:port, got "h"`,
				`sluice.yaml:8:21: kafka.sasl.mechanism: plain needs kafka.sasl.username`,
				`sluice.yaml:8:21: kafka.sasl.mechanism: plain needs kafka.sasl.password_file`,
				`sluice.yaml:8:40: kafka.sasl.token_file: the mechanism plain does not use it`,
				`sluice.yaml:10:10: relay.route: expected a template over .AggregateType, .AggregateID, ` +
					`.Type, .Key, .ContentType and {{header "name"}}, got "AggregateKind" (did you mean ` +
					`"AggregateID"?)`,
				`sluice.yaml:14:24: relay.dead_letter.topic: expected a Kafka topic name (1 to 249 of ` +
					`letters, digits, '.', '_' and '-'), got "a b"`,
				`sluice.yaml:12:18: one transaction of relay.max_bytes (16MiB) does not fit into ` +
					`relay.max_in_flight (1MiB)`,
				`sluice.yaml:11:24: relay.transaction_timeout (2s) is below relay.session_timeout (6s): ` +
					`brokers would abort the transaction of a relay that still owns its shards`,
				`sluice.yaml:13:11: relay.assign: shard 1 is listed twice`,
				`sluice.yaml:15:16: http.listen: expected host:port, got "nowhere"`,
			},
		},
		{
			name: "environment",
			file: minimal,
			src: Source{Environ: []string{
				"SLUICE_RELAY_DELIVRY=x", "SLUICE_RELAY_MAX_ENTRIES=0", "SLUICE_TEST_REDIS=x",
				"SLUICE_SOMETHING_ELSE=1",
				"SLUICE_RELAY_PORT=tcp://10.0.0.1:8080", "SLUICE_RELAY_PORT_8080_TCP_ADDR=10.0.0.1",
				"SLUICE_SERVICE_HOST=x", "PATH=/bin",
				"SLUICE_REDIS_URL=redis://u:hunter2@h:x/0",
			}},
			want: []string{
				`SLUICE_RELAY_DELIVRY: unknown environment variable (did you mean SLUICE_RELAY_DELIVERY?)`,
				`SLUICE_RELAY_MAX_ENTRIES: relay.max_entries: expected at least 1, got "0"`,
				`SLUICE_REDIS_URL: redis.url: expected redis://host:port/db, rediss://host:port/db or ` +
					`unix:///path`,
			},
		},
		{
			name: "--set",
			file: minimal,
			src: Source{Set: []string{
				"relay.delivery", "relay.delivry=x", "relay=x",
				"redis.password=hunter2", "relay.trim.keep=soon", "keep=1h", "relay.topics.partitions=-1",
				"relay.lanes=65", "relay.linger=2s",
			}},
			want: []string{
				`--set: expected path=value, for example relay.delivery=at-least-once, got "relay.delivery"`,
				`--set: unknown setting "relay.delivry" (did you mean "relay.delivery"?)`,
				`--set: relay is a section: set one of its settings, for example relay.delivery`,
				`--set: redis.password is a secret and every user of the machine can read a command line: ` +
					`set SLUICE_REDIS_PASSWORD or use redis.password_file`,
				`--set: relay.trim.keep: expected a duration such as 500ms, 30s, 1h or 7d, or off, got "soon"`,
				`--set: unknown setting "keep" (did you mean "relay.trim.keep"?)`,
				`--set: relay.topics.partitions: expected at least 0, got "-1"`,
				`--set: relay.lanes: expected at most 64, got "65"`,
				`--set: relay.linger: expected at most 1s, got "2s"`,
			},
		},
		{
			name: "flag",
			file: minimal,
			src:  Source{Flags: []Flag{{"log-level", "telemetry.log.level", "loud"}}},
			want: []string{`--log-level: telemetry.log.level: expected debug, info, warn or error, got ` +
				`"loud"`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if err := os.WriteFile("sluice.yaml", []byte(tt.file), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Load(tt.src)
			var wrong *Error
			if !errors.As(err, &wrong) {
				t.Fatalf("got %v, want an *Error", err)
			}
			got := strings.Split(err.Error(), "\n")
			if len(got) != len(tt.want) {
				t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			for i := range got {
				if got[i] != tt.want[i] && !(strings.HasSuffix(tt.want[i], ": ") &&
					strings.HasPrefix(got[i], tt.want[i])) {
					t.Errorf("line %d: got\n%s\nwant\n%s", i+1, got[i], tt.want[i])
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the error holds a secret")
			}
		})
	}
}

func TestFileIsFound(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	_, err := Load(Source{})
	if err == nil || !strings.Contains(err.Error(), "run 'sluice init'") {
		t.Errorf("without a file: got %v", err)
	}
	other := filepath.Join(dir, "other.yaml")
	if err := os.WriteFile(other, []byte(minimal), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(Source{Environ: []string{"SLUICE_CONFIG=" + other}}); err != nil {
		t.Errorf("SLUICE_CONFIG: %v", err)
	}
	if _, err := Load(Source{File: "none.yaml"}); err == nil ||
		!strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("a named file that is not there: got %v", err)
	}
}

func TestIgnoredVariables(t *testing.T) {
	c, err := Load(Source{File: write(t, minimal), Environ: []string{"SLUICE_SOMETHING_ELSE=1"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Ignored(); len(got) != 1 || got[0] != "SLUICE_SOMETHING_ELSE" {
		t.Errorf("got %v", got)
	}
}

func TestAnchorsAndNothings(t *testing.T) {
	c, err := Load(Source{File: write(t, `
outbox: {name: orders}
redis: {url: redis://localhost:6379/0}
kafka:
  brokers: [&b localhost:9092]
  sasl:
relay:
  max_bytes: &size 8MiB
  max_in_flight: *size
  route:
`)})
	if err != nil {
		t.Fatal(err)
	}
	if c.Relay.MaxInFlight != 8<<20 || c.Relay.Route != "outbox.event.{{.AggregateType}}" ||
		c.Kafka.Brokers[0] != "localhost:9092" {
		t.Errorf("got %+v", c)
	}
}

// No text makes the reader panic, and a file that is refused says where.
func FuzzFile(f *testing.F) {
	f.Add(minimal)
	f.Add("relay: &a [*a]")
	f.Add("a: &a\n  b: *a")
	f.Add("outbox: !!str x")
	f.Add("? {a: b}\n: c")
	f.Fuzz(func(t *testing.T, text string) {
		c := &Config{origins: map[string]Origin{}, failed: map[string]bool{}}
		var ps problems
		c.readYAML("sluice.yaml", []byte(text), &ps)
		for _, p := range ps {
			if !strings.HasPrefix(p.Where, "sluice.yaml") {
				t.Errorf("a problem without a place: %v", p)
			}
		}
	})
}
