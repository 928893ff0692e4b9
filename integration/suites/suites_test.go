//go:build integration

// Package suites_test shows on real servers what Sluice promises, while relays, servers and the
// network between them break. Each file is one concern, and each test says by its name what it
// shows. A test prints the servers that it used, the seed of its random choices, and what it
// counted.
//
// SLUICE_TEST_SCALE multiplies the sizes of the large runs, for a quick second pass on other server
// versions (0.1) or for a long one (10); SLUICE_TEST_SEED repeats the choices of a run.
package suites_test

import (
	"context"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/relay"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(inboxProcessEnv); text != "" {
		runInboxProcess(text) // this process is an instance of an inbox, started by a test
		return
	}
	integration.Main(m)
}

// scaled is n, multiplied by SLUICE_TEST_SCALE.
func scaled(t *testing.T, n int) int {
	t.Helper()
	text := os.Getenv("SLUICE_TEST_SCALE")
	if text == "" {
		return n
	}
	scale, err := strconv.ParseFloat(text, 64)
	if err != nil || scale <= 0 {
		t.Fatalf("SLUICE_TEST_SCALE=%s: want a number above 0", text)
	}
	return max(1, int(math.Round(float64(n)*scale)))
}

// shared is an environment on the shared servers.
func shared(t *testing.T, shards int) *testenv.Env {
	t.Helper()
	s := integration.Servers(t)
	t.Logf("servers: %s, %s", s.Redis.Version, s.Kafka.Version)
	return testenv.New(t, testenv.Options{Shards: shards})
}

// verify holds what a read_committed reader gets against the streams, and looks at the history of
// positions as well.
func verify(t *testing.T, w *testenv.Env, topics ...string) {
	t.Helper()
	entries := w.Entries()
	report := testenv.Compare(entries, w.Delivered(topics...))
	t.Log(report)
	if err := report.ExactlyOnce(); err != nil {
		t.Errorf("not exactly once: %v", err)
	}
	if err := testenv.CheckPositions(entries, w.Positions()); err != nil {
		t.Error(err)
	}
}

// verifyAtLeastOnce is verify for the other delivery, which keeps no positions in Kafka. Duplicates
// are allowed; the log has their count.
func verifyAtLeastOnce(t *testing.T, w *testenv.Env) {
	t.Helper()
	report := testenv.Compare(w.Entries(), w.Delivered())
	t.Log(report)
	if report.Lost+report.Orphaned+report.Altered > 0 {
		t.Errorf("not at least once: %v\n%s", report, strings.Join(report.Findings, "\n"))
	}
}

// verifyDelivery is verify or verifyAtLeastOnce.
func verifyDelivery(t *testing.T, w *testenv.Env, d relay.Delivery) {
	t.Helper()
	if d == relay.DeliveryAtLeastOnce {
		verifyAtLeastOnce(t, w)
		return
	}
	verify(t, w)
}

// stillnessLimit is after how long a shard that does not move while entries wait has to say why.
const stillnessLimit = 15 * time.Second

func deadline(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	return integration.Context(t, d)
}
