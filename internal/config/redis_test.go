package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

func load(t *testing.T, text string, environ ...string) *Config {
	t.Helper()
	c, err := Load(Source{File: write(t, text), Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func client(t *testing.T, c *Config) redis.UniversalClient {
	t.Helper()
	r, err := RedisClient(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestRedisKinds(t *testing.T) {
	const rest = "outbox: {name: o}\nkafka: {brokers: [h:1]}\n"
	if _, ok := client(t, load(t, rest+"redis: {addrs: [h:1]}")).(*redis.ClusterClient); !ok {
		t.Error("addrs: want a cluster client")
	}
	r, ok := client(t, load(t, rest+"redis: {url: 'rediss://me@h/3'}")).(*redis.Client)
	if !ok {
		t.Fatal("url: want a plain client")
	}
	if o := r.Options(); o.Addr != "h:6379" || o.DB != 3 {
		t.Errorf("url: got %s, database %d", o.Addr, o.DB)
	}
	r, ok = client(t,
		load(t, rest+"redis: {db: 2, sentinel: {master: m, addrs: [h:1]}}")).(*redis.Client)
	if !ok || r.Options().DB != 2 {
		t.Error("sentinel: want a failover client of database 2")
	}
}

// A password in a file is used, and when it changes, by the next connection.
func TestRedisPasswordRotates(t *testing.T) {
	server := miniredis.RunT(t)
	server.RequireUserAuth("relay", "first")
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("first\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := load(t, "outbox: {name: o}\nkafka: {brokers: [h:1]}\nredis: {url: redis://"+
		server.Addr()+", username: relay, password_file: "+secret+"}")
	r := client(t, c)
	if err := r.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	server.RequireUserAuth("relay", "second")
	if err := os.WriteFile(secret, []byte("second\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	fresh := client(t, c) // new connections
	if err := fresh.Ping(t.Context()).Err(); err != nil {
		t.Errorf("after the rotation: %v", err)
	}
}

func TestRedisPasswordFromEnvironmentAndURL(t *testing.T) {
	server := miniredis.RunT(t)
	server.RequireAuth("hunter2")
	rest := "outbox: {name: o}\nkafka: {brokers: [h:1]}\n"
	for name, r := range map[string]redis.UniversalClient{
		"environment": client(t, load(t, rest+"redis: {url: redis://"+server.Addr()+"}",
			"SLUICE_REDIS_PASSWORD=hunter2")),
		"url": client(t, load(t, rest, "SLUICE_REDIS_URL=redis://:hunter2@"+server.Addr())),
	} {
		if err := r.Ping(t.Context()).Err(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRedisMissingFilesAreFoundAtStart(t *testing.T) {
	c := load(t, "outbox: {name: o}\nkafka: {brokers: [h:1]}\nredis:\n  url: rediss://h\n  tls: "+
		"{ca_file: /no/such/file}\n")
	_, err := RedisClient(c)
	if err == nil || !strings.Contains(err.Error(),
		"sluice.yaml:5:18: redis.tls.ca_file: open /no/such/file") {
		t.Errorf("got %v", err)
	}
	c = load(t, "outbox: {name: o}\nkafka: {brokers: [h:1]}\nredis: {url: redis://h, "+
		"password_file: /no/such/file}\n")
	_, err = RedisClient(c)
	if err == nil || !strings.Contains(err.Error(), "redis.password_file: open /no/such/file") {
		t.Errorf("got %v", err)
	}
}

// No command shows a secret.
func TestSecretsAreRedacted(t *testing.T) {
	c := load(t, "outbox: {name: o}\nkafka: {brokers: [h:1], sasl: {mechanism: plain, username: u}}\n",
		"SLUICE_REDIS_URL=redis://u:hunter2@h:1/0", "SLUICE_KAFKA_SASL_PASSWORD=hunter2",
		"SLUICE_REDIS_PASSWORD=hunter2")
	text, err := YAML(c)
	if err != nil {
		t.Fatal(err)
	}
	shown := string(text) + RedisName(c) + KafkaName(c)
	for _, s := range Settings() {
		shown += s.Show(c)
	}
	if strings.Contains(shown, "hunter2") {
		t.Error("a secret is shown")
	}
	if !strings.Contains(shown, "redis://u:redacted@h:1/0") {
		t.Errorf("the URL is gone: %s", shown)
	}
}
