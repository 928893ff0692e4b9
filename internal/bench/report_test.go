package bench

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

func ptr(v float64) *float64 { return &v }

// sample is a report in which some figures are reached, some missed and some missing.
func sample() *Report {
	run := func(rate, cpu, redis float64, file *float64) ThroughputRun {
		return ThroughputRun{
			Rate: rate, CPU: ptr(cpu), RedisCPU: ptr(redis), FileBytes: file,
			Peak: 64 << 20, OrderKnown: true, EntriesSeen: 300_000,
		}
	}
	latency := func(k Kind, shards, rate int, p50, p99 float64) LatencyResult {
		m := LatencyRun{
			Events: 100, Written: float64(rate), P50: p50, P99: p99, Max: 2 * p99,
			Usage: Usage{CPU: ptr(3), BrokerCPU: ptr(11.5)},
		}
		if k == ExactlyOnce {
			m.Transactions = ptr(0.9 * float64(rate))
		}
		return LatencyResult{Driver: Driver{k, shards}, Rate: rate, Median: m}
	}
	r := &Report{
		Environment: Environment{
			Redis: "Redis 7.0.15", Kafka: "Kafka 4.3.0", Go: "go1.26", Cores: 2,
			OS: "linux", Arch: "amd64",
		},
		Entries: 300_000, Payload: 200, Rounds: 3, Batch: 1_000, Partitions: 64,
		Settings: Settings{Lanes: 2, Linger: 5},
		Throughput: []ThroughputResult{
			{Driver: Driver{Loop, 1}, Median: run(70_000, 8.4, 6.1, ptr(208))},
			{Driver: Driver{ExactlyOnce, 1}, Median: run(182_000, 4.3, 1.7, ptr(0.01))},
			{Driver: Driver{ExactlyOnce, 4}, Median: run(181_000, 4.4, 1.7, nil)},
			{
				Driver: Driver{RedisBaseline, 1},
				Median: ThroughputRun{Rate: 700_000, CPU: ptr(0.5), RedisCPU: ptr(1.1), FileBytes: ptr(0)},
			},
			{
				Driver: Driver{KafkaBaseline, 1},
				Median: ThroughputRun{Rate: 400_000, CPU: ptr(1.5), OrderKnown: true},
			},
		},
		Latency: []LatencyResult{
			latency(Loop, 1, 20, 3.4, 20), latency(ExactlyOnce, 1, 20, 5.2, 27),
			latency(Loop, 1, 200, 1.6, 35), latency(ExactlyOnce, 1, 200, 8.8, 36),
			latency(ExactlyOnce, 64, 200, 80, 360),
		},
		Writer: &WriterResult{
			Transactions: 5_000,
			Median:       WriterRun{BareP50: 50, BareMean: 60, OutboxP50: 54, OutboxMean: 67},
		},
	}
	r.Throughput[0].Median.OutOfOrder = 12
	r.Latency[1].Median.Written = 15
	r.Latency[2].Median.BrokerCPU = nil
	r.judge()
	return r
}

func TestReportReads(t *testing.T) {
	var out bytes.Buffer
	if err := sample().WriteText(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.txt", out.Bytes())
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (-update writes it anew):\n%s", file, got)
	}
}

func TestTargets(t *testing.T) {
	reached := map[string]bool{}
	for _, g := range sample().Targets {
		reached[g.Name] = g.Reached
	}
	for name, want := range map[string]bool{
		"exactly-once over the loop, entries/s":        true,  // 2.6
		"exactly-once over the loop, own CPU an entry": false, // 0.51
		"AOF bytes an entry that exactly-once reads":   true,
		"exactly-once, 4 shards over one, entries/s":   false, // 0.99
		"exactly-once over the loop, p50 at 20/s":      false, // 1.53
		"exactly-once, p50 ms at 200/s":                true,
		"outbox over bare, p50 of a transaction":       true,
		"outbox over bare, mean of a transaction":      false, // 1.12
	} {
		got, judged := reached[name]
		if !judged || got != want {
			t.Errorf("%s: judged %v, reached %v, want %v", name, judged, got, want)
		}
		delete(reached, name)
	}
	if len(reached) > 0 {
		t.Errorf("also judged: %v", reached)
	}
}

// What was not measured is not judged, and a report of nothing is no panic.
func TestNothingMeasuredIsNothingJudged(t *testing.T) {
	r := &Report{
		Throughput: []ThroughputResult{{Driver: Driver{ExactlyOnce, 4}}},
		Latency:    []LatencyResult{{Driver: Driver{ExactlyOnce, 1}, Rate: 50}},
	}
	r.judge()
	if len(r.Targets) != 0 {
		t.Errorf("%+v", r.Targets)
	}
	if err := (&Report{}).WriteText(&bytes.Buffer{}); err != nil {
		t.Error(err)
	}
}
