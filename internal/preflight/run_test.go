package preflight

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/config"
	"github.com/sluice-outbox/sluice/migrations"
	"github.com/sluice-outbox/sluice/outbox"
)

// stage is a configuration with substitutes of both servers.
type stage struct {
	Servers
	cfg   *config.Config
	mini  *miniredis.Miniredis
	kafka *kfake.Cluster
}

func newStage(t *testing.T, set ...string) *stage {
	t.Helper()
	mini := miniredis.RunT(t)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	cfg := load(t, append([]string{
		"outbox.shards=2", "redis.url=redis://" + mini.Addr(),
		"kafka.brokers=" + strings.Join(cluster.ListenAddrs(), ","),
	}, set...)...)
	opts, err := config.KafkaOpts(cfg)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	rdb, err := config.RedisClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rdb.Close() })
	replica, err := config.ReplicaClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if replica != nil {
		t.Cleanup(func() { _ = replica.Close() })
	}
	return &stage{Servers{rdb, replica, client}, cfg, mini, cluster}
}

func load(t *testing.T, set ...string) *config.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sluice.yaml")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.Source{
		File: file,
		Set:  append([]string{"outbox.name=orders"}, set...),
	})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func (s *stage) migrate(t *testing.T) *stage {
	t.Helper()
	m, err := migrations.New(s.Redis, s.Kafka, migrations.Config{Outbox: "orders", Shards: 2})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := m.Plan(t.Context(), migrations.Newest)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Apply(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stage) run(t *testing.T) []Finding {
	t.Helper()
	all := Run(t.Context(), s.cfg, s.Servers)
	for _, f := range all {
		if f.Level == Fail && f.Fix == "" {
			t.Errorf("a failure without advice: %+v", f)
		}
	}
	return all
}

// wants looks for one finding.
func wants(t *testing.T, all []Finding, level Level, area, name, detail string) {
	t.Helper()
	for _, f := range all {
		if f.Level == level && f.Area == area && f.Name == name && strings.Contains(f.Detail, detail) {
			return
		}
	}
	t.Errorf("no finding %s %s %s %q in", level, area, name, detail)
	for _, f := range all {
		t.Logf("  %s %s %s: %s", f.Level, f.Area, f.Name, f.Detail)
	}
}

func TestRunReady(t *testing.T) {
	s := newStage(t).migrate(t)
	all := s.run(t)
	if Worst(all) == Fail {
		t.Errorf("got %+v", all)
	}
	wants(t, all, OK, "configuration", "settings", "exactly-once")
	wants(t, all, OK, "redis", "reachable", "Redis at")
	wants(t, all, OK, "kafka", "reachable", "1 broker")
	wants(t, all, OK, "layout", "version", "version 3, 2 shards")
	wants(t, all, OK, "topics", "route", "known when events are there")
	wants(t, all, OK, "audit", "permissions", "nothing that an audit reads or writes is refused")
}

func TestRunWithoutLayout(t *testing.T) {
	all := newStage(t).run(t)
	wants(t, all, Fail, "layout", "created", "does not exist")
}

func TestRunDrift(t *testing.T) {
	s := newStage(t, "outbox.shards=3", "relay.assign=5").migrate(t)
	s.mini.Del(outbox.StreamKey("orders", 1))
	all := s.run(t)
	wants(t, all, Fail, "layout", "drift", "sluice:{orders:1}: does not exist")
	wants(t, all, Warn, "layout", "shards", "outbox.shards is 3, the layout has 2")
	wants(t, all, Fail, "layout", "assign", "names shard 5")
}

func TestRunWithoutServers(t *testing.T) {
	s := newStage(t)
	s.mini.Close()
	s.kafka.Close()
	all := s.run(t)
	wants(t, all, Fail, "redis", "reachable", "does not answer")
	wants(t, all, Fail, "kafka", "reachable", "does not answer")
}

// The topics of entries that wait are looked at by the policy for unknown ones.
func TestRunTopics(t *testing.T) {
	for policy, level := range map[string]Level{"create": OK, "dead_letter": Warn, "halt": Fail} {
		t.Run(policy, func(t *testing.T) {
			s := newStage(t, "relay.topics.on_unknown="+policy, "relay.route={{.AggregateType}}").migrate(t)
			add := func(values ...string) {
				t.Helper()
				if err := s.Redis.XAdd(t.Context(),
					&redis.XAddArgs{Stream: outbox.StreamKey("orders", 1), Values: values}).Err(); err != nil {
					t.Fatal(err)
				}
			}
			add("id", "1", "aggregatetype", "order", "aggregateid", "1", "type", "t", "payload", "",
				"headers", "{}")
			add("id", "1", "aggregatetype", "or der", "aggregateid", "1", "type", "t", "payload", "",
				"headers", "{}")
			add("id", "1", "aggregatetype", "order", "aggregateid", "1", "type", "t", "payload", "",
				"headers", "{}", "topic", "odd")
			add("not", "an event")
			if _, err := kadm.NewClient(s.Kafka).CreateTopic(t.Context(), 3, 1, nil, "odd"); err != nil {
				t.Fatal(err)
			}
			all := s.run(t)
			wants(t, all, level, "topics", "order", "does not exist")
			wants(t, all, Warn, "topics", "odd", "3 partitions are no multiple of 2 shards")
			wants(t, all, Warn, "topics", "route", `"or der" is not a Kafka topic name`)
		})
	}
}

func TestRunConfiguration(t *testing.T) {
	c := &checker{cfg: load(t, "kafka.brokers=h:1", "relay.trim.keep=off", "http.listen=0.0.0.0:8080",
		"http.pprof=true", "kafka.sasl.mechanism=plain",
		"kafka.sasl.username=u", "kafka.sasl.password_file=/dev/null",
		"redis.url=redis://u:secret@h", "relay.on_mismatch=continue",
		"relay.topics.on_changed=continue")}
	c.checkConfiguration()
	for _, name := range []string{
		"kafka.sasl", "redis.url", "http.listen", "http.pprof",
		"relay.trim.keep", "relay.on_mismatch", "relay.topics.on_changed",
	} {
		wants(t, c.all, Warn, "configuration", name, "")
	}
	for _, f := range c.all {
		if strings.Contains(f.Detail+f.Fix, "secret@") {
			t.Errorf("a secret is shown: %+v", f)
		}
	}
}

func TestWorst(t *testing.T) {
	for _, tt := range []struct {
		levels []Level
		want   Level
	}{{nil, OK}, {[]Level{OK, Warn, OK}, Warn}, {[]Level{Fail, Warn}, Fail}, {
		[]Level{Warn, Fail, OK},
		Fail,
	}} {
		var all []Finding
		for _, l := range tt.levels {
			all = append(all, Finding{Level: l})
		}
		if got := Worst(all); got != tt.want {
			t.Errorf("%v: got %s, want %s", tt.levels, got, tt.want)
		}
	}
}
