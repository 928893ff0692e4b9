package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/migrations"
)

// migrateStage runs `sluice migrate` against substitutes of both servers.
type migrateStage struct {
	t      *testing.T
	redis  *miniredis.Miniredis
	client *kgo.Client
	kafka  *kadm.Client // over client
	file   string
}

func newMigrateStage(t *testing.T, more string) *migrateStage {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	s := &migrateStage{
		t: t, redis: miniredis.RunT(t), client: client, kafka: kadm.NewClient(client),
		file: filepath.Join(t.TempDir(), "sluice.yaml"),
	}
	text := "redis: {url: redis://" + s.redis.Addr() + "/0}\nkafka: {brokers: [" +
		cluster.ListenAddrs()[0] + "]}\n" + more
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// run executes one command and asserts its exit status.
func (s *migrateStage) run(status int, args ...string) (stdout, stderr string) {
	s.t.Helper()
	var out, errs bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &out, err: &errs}
	got := run(s.t.Context(), a, append([]string{"migrate", "-c", s.file}, args...))
	if got != status {
		s.t.Errorf("sluice migrate %v: exit status %d, want %d\n%s%s", args, got, status, &out, &errs)
	}
	return out.String(), errs.String()
}

func (s *migrateStage) wants(text string, parts ...string) {
	s.t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			s.t.Errorf("%q is not in:\n%s", part, text)
		}
	}
}

func TestMigrate(t *testing.T) {
	s := newMigrateStage(t, "outbox: {name: orders, shards: 2}\n")
	_, errs := s.run(exitThreshold, "status")
	s.wants(errs, "the outbox is at layout version 0 of 3")

	out, _ := s.run(exitFine, "plan")
	s.wants(out, "outbox orders: version 0 -> 3", "create  stream   sluice:{orders:1}",
		"create  topic    sluice.orders.positions")
	if len(s.redis.Keys()) > 0 {
		t.Errorf("plan created %v", s.redis.Keys())
	}
	out, _ = s.run(exitFine, "apply")
	s.wants(out, "outbox orders: version 0 -> 3", "\ndone\n")
	out, _ = s.run(exitFine, "status")
	s.wants(out, "version  3 (newest 3)", "drift    none")
	out, _ = s.run(exitFine, "apply")
	s.wants(out, "nothing to do")
	if strings.Contains(out, "done") {
		t.Errorf("done, with nothing to do:\n%s", out)
	}
}

func TestMigrateOneVersion(t *testing.T) {
	s := newMigrateStage(t, "outbox: {name: orders, shards: 2}\n")
	s.run(exitFine, "apply", "--to", "1")
	s.run(exitThreshold, "status")
	s.run(exitFine, "apply")
	_, errs := s.run(exitUsage, "apply", "--to", "1")
	s.wants(errs, "--to 1", "does not go back")
	_, errs = s.run(exitUsage, "plan", "--to", "9")
	s.wants(errs, "--to 9", "unknown layout version")
}

func TestMigrateJSON(t *testing.T) {
	s := newMigrateStage(t, "outbox: {name: orders, shards: 2}\n")
	read := func(text string, into any) {
		t.Helper()
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
	}
	var plan migrations.Plan
	out, _ := s.run(exitFine, "plan", "-o", "json")
	read(out, &plan)
	if plan.Todo() != 8 {
		t.Errorf("%d steps to do in %s", plan.Todo(), out)
	}
	var applied appliedPlan
	out, _ = s.run(exitFine, "apply", "-o", "json")
	read(out, &applied)
	if !applied.Applied || applied.Todo() != 8 {
		t.Errorf("applied %v in %s", applied.Applied, out)
	}
	var again appliedPlan
	out, _ = s.run(exitFine, "apply", "-o", "jsonl")
	read(out, &again)
	if again.Applied || !again.Empty() || strings.Count(out, "\n") != 1 {
		t.Errorf("applied %v in %s", again.Applied, out)
	}
	var status migrations.Status
	out, _ = s.run(exitFine, "status", "-o", "json")
	read(out, &status)
	if !status.Current() || status.Shards != 2 {
		t.Errorf("%s", out)
	}
}

func TestMigrateRefuses(t *testing.T) {
	s := newMigrateStage(t, "outbox: {name: orders, shards: 2}\n")
	s.run(exitFine, "apply")
	s.redis.HSet(names.LayoutKey("orders"), "version", "4")
	for _, command := range []string{"plan", "apply"} {
		out, errs := s.run(exitFailed, command)
		s.wants(out, "outbox orders: refused", "is at layout version 4")
		if errs != "" {
			t.Errorf("%s says it twice: %s", command, errs)
		}
	}
	var applied appliedPlan
	out, _ := s.run(exitFailed, "apply", "-o", "json")
	if err := json.Unmarshal([]byte(out), &applied); err != nil || applied.Applied ||
		len(applied.Refused) != 1 {
		t.Errorf("%v in %s", err, out)
	}
	out, errs := s.run(exitThreshold, "status")
	s.wants(out, "drift    1 finding")
	s.wants(errs, "the outbox has drifted")
}

func TestMigrateLostPositions(t *testing.T) {
	s := newMigrateStage(t, "outbox: {name: orders, shards: 2}\n")
	s.run(exitFine, "apply")
	if _, err := s.kafka.DeleteTopic(t.Context(), names.PositionsTopic("orders")); err != nil {
		t.Fatal(err)
	}
	out, _ := s.run(exitFailed, "apply", "--yes") // the general consent is not enough
	s.wants(out, "a relay would not know its position", "--recreate-positions")
	out, _ = s.run(exitFine, "apply", "--recreate-positions")
	s.wants(out, "every shard's position must be set by hand", "\ndone\n")
	s.run(exitFine, "status")

	s.redis.FlushAll()
	record := &kgo.Record{
		Topic: names.PositionsTopic("orders"), Key: []byte("orders/0"),
		Value: []byte("{}"),
	}
	if err := s.client.ProduceSync(t.Context(), record).FirstErr(); err != nil {
		t.Fatal(err)
	}
	out, _ = s.run(exitFailed, "apply")
	s.wants(out, "--adopt-positions")
	s.run(exitFine, "apply", "--adopt-positions")
	s.run(exitFine, "status")
}

// The number of shards is the layout's unless the configuration names one.
func TestMigrateShards(t *testing.T) {
	s := newMigrateStage(t, "outbox: {name: orders}\n")
	s.run(exitFine, "apply", "--set", "outbox.shards=3")
	out, _ := s.run(exitFine, "status")
	s.wants(out, "shards   3")
	out, _ = s.run(exitFailed, "apply", "--set", "outbox.shards=5")
	s.wants(out, "has 3 shards, the configuration says 5", "set shards to 3")
}

// What the file says of topics is what is created.
func TestMigrateTopics(t *testing.T) {
	s := newMigrateStage(t,
		"outbox: {name: orders, shards: 2}\nrelay: {dead_letter: {topic: letters}, topics: "+
			"{replication_factor: 1}}\n")
	out, _ := s.run(exitFine, "plan")
	s.wants(out, "letters", "replication factor 1")
	s.run(exitFine, "apply")
	topics, err := s.kafka.ListTopics(t.Context())
	if err != nil || !topics.Has("letters") || topics.Has(names.DeadLetterTopic("orders")) {
		t.Errorf("%v, %v", topics.Names(), err)
	}
}

func TestMigrateNamesTheServerThatIsDown(t *testing.T) {
	s := newMigrateStage(t, "outbox: {name: orders}\n")
	_, errs := s.run(exitFailed, "plan", "--set", "redis.url=redis://127.0.0.1:1/0")
	s.wants(errs, "Redis at", "127.0.0.1:1")
	_, errs = s.run(exitFailed, "plan", "--set", "kafka.brokers=127.0.0.1:1")
	s.wants(errs, "Kafka at 127.0.0.1:1")
	s.run(exitFine, "apply", "--to", "1", "--set", "kafka.brokers=127.0.0.1:1")
}
