package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/sluice-outbox/sluice/internal/admin"
	"github.com/sluice-outbox/sluice/internal/deadletter"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

func init() { logging.Disable() } // as main does

// shop is an outbox "orders" of two shards on substitutes of both servers, for whole commands.
type shop struct {
	mini  *miniredis.Miniredis
	redis *redis.Client
	kafka string // address
	file  string
}

func newShop(t *testing.T) *shop {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	mini := miniredis.RunT(t)
	s := &shop{
		mini: mini, redis: redis.NewClient(&redis.Options{Addr: mini.Addr()}),
		kafka: cluster.ListenAddrs()[0], file: filepath.Join(t.TempDir(), "sluice.yaml"),
	}
	t.Cleanup(func() { _ = s.redis.Close() })
	text := "outbox: {name: orders, shards: 2}\nredis: {url: redis://" + mini.Addr() +
		"}\nkafka: {brokers: [" + s.kafka +
		"]}\nhttp: {listen: '127.0.0.1:0'}\nrelay: {topics: {partitions: 2}}\n"
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.run(t, exitFine, "migrate", "apply")
	return s
}

// run executes a command to its end and checks its exit status.
func (s *shop) run(t *testing.T, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	got := run(t.Context(), &app{in: strings.NewReader(""), out: &out, err: &errs},
		append([]string{"-c", s.file}, args...))
	if got != want {
		t.Errorf("sluice %s: exit status %d, want %d\n%s%s", strings.Join(args, " "), got, want, &out,
			&errs)
	}
	return out.String(), errs.String()
}

// lockedBuffer collects the log of a relay that runs beside the test.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// relay runs `sluice relay` until the test ends it. It gives the address of its listener.
func (s *shop) relay(t *testing.T, args ...string) (address string, stop func()) {
	t.Helper()
	args = append([]string{
		"relay", "--instance", "r1", "--init", "--set",
		"relay.housekeeping_interval=50ms",
	}, args...)
	return s.serve(t, io.Discard, args...)
}

// serve runs a command that has a listener until the test ends it. It gives the address of its
// listener.
func (s *shop) serve(t *testing.T, out io.Writer, args ...string) (address string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	log := &lockedBuffer{}
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, &app{in: strings.NewReader(""), out: out, err: log},
			append([]string{"-c", s.file}, args...))
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if code := <-done; code != exitFine {
			t.Errorf("%s: exit status %d\n%s", args[0], code, log)
		}
	})
	t.Cleanup(stop)
	listening := regexp.MustCompile(`"msg":"listening","address":"([^"]+)"`)
	eventually(t, args[0]+" listens", func() bool {
		m := listening.FindStringSubmatch(log.String())
		if m != nil {
			address = "http://" + m[1]
		}
		return m != nil
	})
	return address, stop
}

// eventually waits for a condition that another goroutine or a server brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func (s *shop) add(t *testing.T, shard int, values ...string) string {
	t.Helper()
	id, err := s.redis.XAdd(t.Context(),
		&redis.XAddArgs{Stream: outbox.StreamKey("orders", shard), Values: values}).Result()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

var event = []string{
	"id", "e1", "aggregatetype", "order", "aggregateid", "1", "type", "t",
	"payload", "p", "headers", "{}",
}

// One event's way through the commands that a user has: relay, metrics, status, pause, dead
// letters, resume.
func TestCommands(t *testing.T) {
	s := newShop(t)
	url, stop := s.relay(t)
	eventually(t, "ready", func() bool {
		code, _ := get(t, url+"/readyz")
		return code == http.StatusOK
	})
	if code, body := get(t, url+"/livez"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("/livez: %d %q", code, body)
	}

	last := s.add(t, 1, event...)
	bad := s.add(t, 1, "not", "an event")
	var st admin.Status
	eventually(t, "delivered", func() bool {
		out, _ := s.run(t, exitFine, "status", "-o", "json")
		if err := json.Unmarshal([]byte(out), &st); err != nil {
			t.Fatal(err)
		}
		return st.Shards[1].Position == bad
	})
	if sh := st.Shards[1]; sh.Owner != "r1" || sh.State != "running" || sh.Lag == nil ||
		*sh.Lag != 0 || *st.Relays != 1 {
		t.Errorf("status: %+v", st)
	}
	for _, series := range []string{
		`sluice_relay_published_total{outbox="orders",topic="outbox.event.order"} 1`,
		`sluice_dead_letters_total{outbox="orders",reason="undecodable"} 1`,
		`sluice_shard_state{outbox="orders",shard="1",state="running"} 1`, `sluice_build_info{`,
		`sluice_relay_end_to_end_seconds_count{outbox="orders"} `,
	} {
		// Who observes hears of a commit after the position has moved.
		eventually(t, series, func() bool {
			_, metrics := get(t, url+"/metrics")
			return strings.Contains(metrics, series)
		})
	}

	// Dead letters.
	out, _ := s.run(t, exitFine, "dlq", "list", "-o", "jsonl")
	var letter deadletter.Letter
	if err := json.Unmarshal([]byte(out), &letter); err != nil || letter.Ref() != "1/"+bad ||
		letter.Reason != "undecodable" {
		t.Fatalf("dlq list: %s (%v)", out, err)
	}
	if out, _ = s.run(t, exitFine, "dlq", "show", bad); !strings.Contains(out,
		"not          an event") {
		t.Errorf("dlq show: %s", out)
	}
	s.run(t, exitFailed, "dlq", "show", "9-9")
	s.run(t, exitUsage, "dlq", "drop")
	s.run(t, exitUsage, "dlq", "drop", "--reason", "undecodabel")
	if _, errs := s.run(t, exitUsage, "dlq", "drop", bad); !strings.Contains(errs, "add --yes") {
		t.Errorf("dlq drop without consent: %s", errs)
	}
	s.run(t, exitUsage, "dlq", "replay", bad, "--set", "nothing=1", "--yes")
	replay := []string{
		"dlq", "replay", bad, "--yes", "--unset", "not", "--set",
		"kafka.client_id=test",
	}
	for i := 0; i < len(event); i += 2 {
		replay = append(replay, "--set", event[i]+"="+event[i+1])
	}
	if out, _ = s.run(t, exitFine, replay...); !strings.Contains(out, "1/"+bad+": appended to shard") {
		t.Errorf("dlq replay: %s", out)
	}
	if out, _ = s.run(t, exitFine, "dlq", "list"); !strings.Contains(out, "0 dead letters") {
		t.Errorf("dlq list after the replay: %s", out)
	}

	// Pause and resume.
	s.run(t, exitUsage, "pause", "--shard", "7")
	s.run(t, exitFine, "pause", "--shard", "1", "--reason", "a test")
	eventually(t, "paused", func() bool {
		out, _ := s.run(t, exitFine, "status")
		return strings.Contains(out, "1      paused") && strings.Contains(out, "a test")
	})
	if out, _ = s.run(t, exitFine, "resume"); !strings.Contains(out, "sluice resume --shard 1") {
		t.Errorf("resume of all: %s", out)
	}
	s.run(t, exitFine, "resume", "--shard", "1")
	eventually(t, "running again", func() bool {
		code, _ := get(t, url+"/readyz")
		return code == http.StatusOK
	})

	// A position by hand.
	s.run(t, exitUsage, "resume", "--from-start")
	s.run(t, exitUsage, "resume", "--shard", "1", "--after", last)
	s.run(t, exitUsage, "resume", "--shard", "1", "--after", last, "--at-end")
	s.run(t, exitUsage, "resume", "--shard", "1", "--after", "x")
	stop()
	out, errs := s.run(t, exitFine, "resume", "--shard", "1", "--after", last, "--yes")
	if !strings.Contains(errs, "again:") || !strings.Contains(out, "goes on after "+last) {
		t.Errorf("resume --after: %s%s", out, errs)
	}
	out, _ = s.run(t, exitThreshold, "status", "--max-lag", "0")
	if !strings.Contains(out, "no relay") {
		t.Errorf("status without a relay: %s", out)
	}
}

// A halted shard ends status with 3, and resume without a position says what is needed.
func TestHalted(t *testing.T) {
	s := newShop(t)
	s.mini.HSet(names.StatusKey("orders"), "1",
		`{"shard":1,"state":"halted","instance":"r1","since":1,"reason":"rolled back"}`)
	out, errs := s.run(t, exitThreshold, "status")
	if !strings.Contains(out, "shard 1: halted") ||
		!strings.Contains(out, "sluice resume --shard 1") || !strings.Contains(errs, "shard 1: halted") {
		t.Errorf("status: %s%s", out, errs)
	}
	if _, errs := s.run(t, exitFailed, "resume"); !strings.Contains(errs,
		"--after ENTRY, --from-start or --at-end") {
		t.Errorf("resume: %s", errs)
	}
}

func TestCheckCommand(t *testing.T) {
	s := newShop(t)
	out, _ := s.run(t, exitFine, "check", "-o", "json")
	var c checked
	if err := json.Unmarshal([]byte(out), &c); err != nil || c.Outbox != "orders" ||
		len(c.Findings) < 5 {
		t.Errorf("%s (%v)", out, err)
	}
	s.mini.FlushAll()
	if out, _ := s.run(t, exitFailed, "check"); !strings.Contains(out, "not ready") {
		t.Errorf("%s", out)
	}
}

// Mistakes in the command line or the configuration are status 2, and say what was meant.
func TestUsage(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("bad.yaml",
		[]byte("outbox: {name: orders}\nredis: {url: redis://h}\nkafka: {brokers: [h:1]}\nrelay:\n  "+
			"dead_leter: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"staus"}, "status"},
		{[]string{"dlq", "lst"}, `did you mean "list"?`},
		{[]string{"relay", "--dlivery", "x"}, "unknown flag: --dlivery"},
		{[]string{"relay", "extra"}, "unknown command"},
		{[]string{"status", "-o", "xml"}, "expected text, json, jsonl"},
		{[]string{"status"}, "run 'sluice init'"},
		{[]string{"status", "-c", "none.yaml"}, "none.yaml"},
		{
			[]string{"status", "-c", "bad.yaml"},
			`bad.yaml:5:3: unknown field "dead_leter" (did you mean "dead_letter"?)`,
		},
		{
			[]string{"relay", "-c", "bad.yaml", "--delivery", "twice"},
			"--delivery: relay.delivery: expected exactly-once or at-least-once",
		},
		{[]string{"config", "show", "-c", "bad.yaml"}, `unknown field "dead_leter"`},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), &app{in: strings.NewReader(""), out: &out, err: &errs},
			tt.args); code != exitUsage {
			t.Errorf("sluice %s: exit status %d", strings.Join(tt.args, " "), code)
		}
		if !strings.Contains(errs.String(), tt.want) {
			t.Errorf("sluice %s: %s, want %q", strings.Join(tt.args, " "), &errs, tt.want)
		}
	}
}

// An unreachable server is named.
func TestUnreachable(t *testing.T) {
	s := newShop(t)
	if _, errs := s.run(t, exitFailed, "status", "--set",
		"redis.url=redis://127.0.0.1:1"); !strings.Contains(errs, "Redis at 127.0.0.1:1 cannot be used") {
		t.Errorf("status: %s", errs)
	}
	if _, errs := s.run(t, exitFailed, "dlq", "list", "--set",
		"kafka.brokers=127.0.0.1:1"); !strings.Contains(errs, "Kafka at 127.0.0.1:1 cannot be used") {
		t.Errorf("dlq: %s", errs)
	}
	out, _ := s.run(t, exitFailed, "status", "--set", "kafka.brokers=127.0.0.1:1")
	if !strings.Contains(out, "unknown") || !strings.Contains(out, "could not be checked") {
		t.Errorf("status without Kafka: %s", out)
	}
}

func TestPlainCommands(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"version"}, "sluice "},
		{[]string{"version", "-o", "json"}, `"go": "go`},
		{[]string{"config", "schema"}, `"$schema": "https://json-schema.org/draft/2020-12/schema"`},
		{[]string{"config", "reference"}, "| `relay.delivery` |"},
		{[]string{"completion", "bash"}, "bash completion"},
		{[]string{"dlq"}, "replay"},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), &app{in: strings.NewReader(""), out: &out, err: &errs},
			tt.args); code != exitFine || !strings.Contains(out.String(), tt.want) {
			t.Errorf("sluice %s: exit status %d\n%s%s", strings.Join(tt.args, " "), code, &out, &errs)
		}
	}
}
