//go:build integration

package bench

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
)

// driveEnv makes the test's own program a driver.
const driveEnv = "SLUICE_BENCH_TEST_DRIVE"

func TestMain(m *testing.M) {
	if os.Getenv(driveEnv) != "" {
		if Drive(context.Background(), os.Stdin, os.Stdout) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	integration.Main(m)
}

// Everything once, small: what is measured is not looked at, only that it is.
func TestRunMeasuresEverything(t *testing.T) {
	shared := integration.Servers(t)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	report, err := Run(integration.Context(t, 5*time.Minute), Options{
		Redis: shared.Redis.Addr, Kafka: shared.Kafka.Addrs(),
		Entries: 5_000, Rounds: 1, Shards: []int{1, 2}, Rates: []int{20, 200}, LatencyFor: time.Second,
		Writes: 200, Limit: time.Minute,
		Drive: []string{program}, DriveEnv: []string{driveEnv + "=1"}, Progress: t.Logf,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Throughput) != 8 || len(report.Latency) != 14 || report.Writer == nil ||
		len(report.Targets) == 0 {
		t.Errorf("%d drivers, %d latencies, writer %v, %d targets", len(report.Throughput),
			len(report.Latency), report.Writer, len(report.Targets))
	}
	for _, r := range report.Throughput {
		m := r.Median
		if m.EntriesSeen != 5_000 || m.Rate <= 0 || m.CPU == nil || *m.CPU <= 0 || m.Duplicates != 0 ||
			m.OutOfOrder != 0 {
			t.Errorf("%s: %+v", r.Driver, m)
		}
		if r.Driver.Kind == ExactlyOnce && m.FileBytes != nil && *m.FileBytes > 1 {
			t.Errorf("%s: %.2f bytes an entry went to the append-only file", r.Driver, *m.FileBytes)
		}
	}
	for _, l := range report.Latency {
		if m := l.Median; m.Events != l.Rate || m.P50 <= 0 || m.P99 < m.P50 || m.Duplicates != 0 ||
			m.OutOfOrder != 0 {
			t.Errorf("%s: %+v", l.Driver, m)
		}
		alone := l.Driver.Kind == KafkaBaseline || l.Driver.Kind == KafkaTransaction
		if m := l.Median; (m.CPU == nil) != alone ||
			(m.Transactions == nil) != (l.Driver.Kind != ExactlyOnce) ||
			m.Transactions != nil && *m.Transactions <= 0 {
			t.Errorf("%s: own CPU %s %%, %s transactions/s", l.Driver, figure(m.CPU, 2),
				figure(m.Transactions, 2))
		}
		if cpu := l.Median.BrokerCPU; cpu != nil {
			t.Errorf("%s: %.2f %% of CPU of brokers that the run has not started", l.Driver, *cpu)
		}
	}
	var out bytes.Buffer
	if err := report.WriteText(&out); err != nil {
		t.Error(err)
	}
	t.Log("\n" + out.String())

	nothingLeft(t, shared.Redis)
}

func nothingLeft(t *testing.T, r *servers.Redis) {
	t.Helper()
	left, err := integration.RedisClient(t, r, nil).Keys(t.Context(), "sluice:{bench-*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range left {
		if !bytes.Contains([]byte(key), []byte("}:order")) { // states, which expire
			t.Errorf("left behind: %s", key)
		}
	}
}

// An audit's bench measures what it should, and leaves nothing behind.
func TestRunAuditMeasuresEverything(t *testing.T) {
	shared := integration.Servers(t)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	report, err := RunAudit(integration.Context(t, 3*time.Minute), AuditOptions{
		Redis: shared.Redis.Addr, Kafka: shared.Kafka.Addrs(),
		Entries: 5_000, Backlog: 5_000, Rounds: 1, Shards: []int{1, 2}, Limit: time.Minute,
		Drive: []string{program}, DriveEnv: []string{driveEnv + "=1"}, Progress: t.Logf,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Speed) != 8 || report.Cost == nil || len(report.Cost.Beside) != 2 ||
		len(report.Targets) != 5 {
		t.Errorf("%d readings, cost %+v, %d targets", len(report.Speed), report.Cost, len(report.Targets))
	}
	for _, r := range report.Speed {
		if m := r.Median; len(r.Runs) != 1 || m.Rate <= 0 || m.CPU == nil || *m.CPU <= 0 || m.Peak <= 0 ||
			(m.RedisCPU == nil) != (r.Driver.Kind == KafkaRead) {
			t.Errorf("%s: %+v", r.Driver, m)
		}
	}
	for _, x := range report.Cost.Beside {
		if x.Kept <= 0 || x.Cores <= 0 {
			t.Errorf("%+v", x)
		}
	}
	nothingLeft(t, shared.Redis)
}
