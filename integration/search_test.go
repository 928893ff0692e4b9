package integration

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func noServers(t *testing.T) {
	t.Helper()
	for _, name := range []string{envServers, envRedis, envKafka, envRedisBin, envKafkaLibs, envKafkaVersion} {
		t.Setenv(name, "")
	}
}

func found(p place) func(context.Context) (place, error) {
	return func(context.Context) (place, error) { return p, nil }
}

func missing(text string) func(context.Context) (place, error) {
	return func(context.Context) (place, error) { return place{}, errors.New(text) }
}

func TestFindOrder(t *testing.T) {
	noServers(t)
	both := finders{what: "X", docker: found(place{origin: OriginDocker}), local: found(place{origin: OriginLocal})}
	noDocker := finders{what: "X", docker: missing("no engine"), local: found(place{origin: OriginLocal})}
	for _, tt := range []struct {
		forced string
		f      finders
		want   Origin
	}{
		{"", both, OriginDocker},
		{"", noDocker, OriginLocal},
		{"docker", both, OriginDocker},
		{"docker", noDocker, ""},
		{"local", both, OriginLocal},
		{"env", both, ""},
		{"podman", both, ""},
	} {
		t.Setenv(envServers, tt.forced)
		p, err := tt.f.find(t.Context())
		if p.origin != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s=%q: %q, %v; want %q", envServers, tt.forced, p.origin, err, tt.want)
		}
	}
}

func TestNotFoundTellsWhatWasTriedAndWhatHelps(t *testing.T) {
	noServers(t)
	t.Setenv("PATH", t.TempDir())
	f := redisFinders
	f.docker = missing("no engine here")
	_, err := f.find(t.Context())
	if err == nil {
		t.Fatal("found without anything on PATH")
	}
	for _, part := range []string{"no Redis", "docker: no engine here", "local: neither", "apt-get install redis-server", envRedis + "="} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("no %q in:\n%v", part, err)
		}
	}
	f = kafkaFinders
	f.docker = missing("no engine here")
	if _, err = f.find(t.Context()); err == nil || !strings.Contains(err.Error(), "java is not on PATH") {
		t.Errorf("without java: %v", err)
	}
}

func TestKafkaLibsFromTheEnvironment(t *testing.T) {
	noServers(t)
	dir := t.TempDir()
	t.Setenv(envKafkaLibs, dir)
	if _, err := kafkaLibs(t.Context(), "4.3.0"); err == nil {
		t.Error("an empty folder did")
	}
	if err := os.WriteFile(filepath.Join(dir, "kafka_2.13-3.9.2.jar"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := kafkaLibs(t.Context(), "4.3.0"); err != nil || got != dir {
		t.Errorf("without a wanted version: %q, %v", got, err)
	}
	t.Setenv(envKafkaVersion, "4.3.0")
	if _, err := kafkaLibs(t.Context(), "4.3.0"); err == nil || !strings.Contains(err.Error(), "holds Kafka 3.9.2") {
		t.Errorf("another version than the wanted: %v", err)
	}
}

func TestKafkaLibsWithoutMaven(t *testing.T) {
	noServers(t)
	t.Setenv("PATH", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	if _, err := kafkaLibs(t.Context(), "4.3.0"); err == nil || !strings.Contains(err.Error(), "mvn") {
		t.Errorf("without mvn: %v", err)
	}
}

func TestAddressesOfTheEnvironment(t *testing.T) {
	noServers(t)
	for _, tt := range []struct {
		forced, addr string
		use, fail    bool
	}{
		{"", "", false, false},
		{"", "h:1", true, false},
		{"env", "h:1", true, false},
		{"env", "", false, true},
		{"local", "h:1", false, false},
	} {
		t.Setenv(envServers, tt.forced)
		use, err := fromEnv(tt.addr, envRedis)
		if use != tt.use || (err != nil) != tt.fail {
			t.Errorf("%s=%q, address %q: %v, %v", envServers, tt.forced, tt.addr, use, err)
		}
	}
}

func TestParseRedisVersion(t *testing.T) {
	t.Parallel()
	for info, want := range map[string]string{
		"# Server\r\nredis_version:7.0.15\r\nos:Linux\r\n":                                  "Redis 7.0.15",
		"# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n": "Valkey 9.1.2",
	} {
		if got := parseRedisVersion(info); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestSplitImage(t *testing.T) {
	t.Parallel()
	for image, want := range map[string][2]string{
		"redis:7.0":           {"redis", "7.0"},
		"apache/kafka":        {"apache/kafka", "latest"},
		"host:5000/redis":     {"host:5000/redis", "latest"},
		"host:5000/redis:7.0": {"host:5000/redis", "7.0"},
	} {
		if repository, tag := splitImage(image); repository != want[0] || tag != want[1] {
			t.Errorf("%s: %s and %s", image, repository, tag)
		}
	}
}
