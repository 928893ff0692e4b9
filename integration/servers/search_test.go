package servers

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
	for _, name := range []string{
		envServers, envRedis, envKafka, envRedisBin, envKafkaLibs,
		envKafkaVersion,
	} {
		t.Setenv(name, "")
	}
}

func found(p place) func(context.Context) (place, error) {
	return func(context.Context) (place, error) { return p, nil }
}

// fakeEngine has every image, or fails.
type fakeEngine struct{ err error }

func (e fakeEngine) Find(context.Context, string) error { return e.err }
func (fakeEngine) New(Spec) Instance                    { return nil }

// withEngine gives the package an engine, or none, for one test.
func withEngine(t *testing.T, e Engine) {
	t.Helper()
	before := engine.Load()
	t.Cleanup(func() { engine.Store(before) })
	if e == nil {
		engine.Store(nil)
		return
	}
	UseEngine(e)
}

func TestFindOrder(t *testing.T) {
	noServers(t)
	f := finders{
		what: "X", image: func() string { return "x:1" }, local: found(place{origin: OriginLocal}),
	}
	works, fails := fakeEngine{}, fakeEngine{err: errors.New("no engine")}
	for _, tt := range []struct {
		forced string
		engine Engine
		want   Origin
	}{
		{"", works, OriginDocker},
		{"", fails, OriginLocal},
		{"", nil, OriginLocal},
		{"docker", works, OriginDocker},
		{"docker", fails, ""},
		{"docker", nil, ""},
		{"local", works, OriginLocal},
		{"env", works, ""},
		{"podman", works, ""},
	} {
		withEngine(t, tt.engine)
		t.Setenv(envServers, tt.forced)
		p, err := f.find(t.Context())
		if (err == nil) != (tt.want != "") || err == nil && p.origin != tt.want {
			t.Errorf("%s=%q, %v: %q, %v; want %q", envServers, tt.forced, tt.engine, p.origin, err, tt.want)
		}
	}
}

func TestNotFoundTellsWhatWasTriedAndWhatHelps(t *testing.T) {
	noServers(t)
	t.Setenv("PATH", t.TempDir())
	withEngine(t, fakeEngine{err: errors.New("no engine here")})
	_, err := redisFinders.find(t.Context())
	if err == nil {
		t.Fatal("found without anything on PATH")
	}
	for _, part := range []string{
		"no Redis", "docker: no engine here", "local: neither",
		"apt-get install redis-server", envRedis + "=",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("no %q in:\n%v", part, err)
		}
	}
	if _, err = kafkaFinders.find(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "java is not on PATH") {
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
	if _, err := kafkaLibs(t.Context(), "4.3.0"); err == nil ||
		!strings.Contains(err.Error(), "holds Kafka 3.9.2") {
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
		"# Server\r\nredis_version:7.0.15\r\nos:Linux\r\n": "Redis 7.0.15",
		"# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\n" +
			"valkey_version:9.1.2\r\n": "Valkey 9.1.2",
	} {
		if got := parseRedisVersion(info); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
