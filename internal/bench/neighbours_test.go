package bench

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/relay"
)

func TestNeighboursOptions(t *testing.T) {
	o, err := NeighboursOptions{Drive: []string{"x"}}.options()
	if err != nil {
		t.Fatal(err)
	}
	if o.Shards[0] != 64 || o.Rates[0] != 600 || o.Entries != 1_000_000 ||
		o.LatencyFor != 15*time.Second || o.Rounds != 1 || o.Payload != 200 || !o.spare {
		t.Errorf("%+v", o)
	}
	if o, err := (NeighboursOptions{
		Drive: []string{"x"},
		Kafka: []string{"h:1"},
	}).options(); err != nil || o.spare {
		t.Errorf("a given Kafka is to lose a broker: %v, %v", o.spare, err)
	}
	err = NeighboursOptions{Shards: 3, Rate: -1, Backlog: 6_000_000, Lanes: 65}.Check()
	for _, want := range []string{
		"shards: 3", "rates: -1", "backlog: 6000000", "lanes: 65",
		"command that drives",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	// The numbers of a backlog's events fit into their payloads, whichever shard it is.
	source := newEvents(200)
	for shards := 4; shards <= 64; shards++ {
		m := source.numbersOf(shards, func(s int) bool { return s == shards-1 })
		if n := m.number(maxBacklog - 1); n > maxEntries {
			t.Errorf("of %d shards, the last event of the backlog has number %d", shards, n)
		}
	}
}

func neighboursSample() *NeighboursReport {
	part := func(p50, p99 float64, events int) NeighboursPart {
		return NeighboursPart{
			Events: events, Written: 600, P50: p50, P99: p99, Max: 2 * p99,
			Usage: Usage{CPU: ptr(12), BrokerCPU: ptr(60), Transactions: ptr(110)},
		}
	}
	run := func(round int, calm, troubled, catching NeighboursPart) NeighboursRun {
		catching.Usage = Usage{}
		return NeighboursRun{
			Round: round, Calm: calm, Troubled: troubled, CatchingUp: &catching,
			Trouble: []Trouble{
				{
					Shard: 61, What: "an event a second that the broker refuses", Written: 148, Passed: 140,
					DeadLetters: 14, State: relay.StateRunning,
				},
				{
					Shard: 62, What: "its partition has no leader", Written: 148, State: relay.StateWaiting,
					Reason: strings.Repeat("kafka: no leader; ", 20),
				},
				{
					Shard: 63, What: "a backlog", Written: 1_000_000, Passed: 1_000_000, State: relay.StateRunning,
					CaughtUp: ptr(4.25),
				},
			},
		}
	}
	return &NeighboursReport{
		Environment: Environment{
			Redis: "Redis 7.0.15", Kafka: "Kafka 4.3.0", Go: "go1.26", Cores: 2,
			OS: "linux", Arch: "amd64",
		},
		Shards: 64, Well: 61, Rate: 600, Seconds: 15, Backlog: 1_000_000, Payload: 200,
		Runs: []NeighboursRun{
			run(1, part(2, 10, 9_000), part(3, 20, 9_000), part(4, 40, 2_500)),
			run(2, part(4, 20, 9_000), part(4, 30, 9_000), part(8, 50, 2_400)),
		},
	}
}

func TestNeighboursReportReads(t *testing.T) {
	r := neighboursSample()
	r.judge()
	if r.Ratio != (Ratio{P50: 1.25, P99: 1.75, Max: 1.75}) ||
		*r.CatchUpRatio != (Ratio{P50: 2, P99: 3.25, Max: 3.25}) {
		t.Errorf("ratios %+v and %+v are not the medians of the rounds' own", r.Ratio, r.CatchUpRatio)
	}
	var out bytes.Buffer
	if err := r.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "neighbours.txt", out.Bytes())
}

// What a round lacks is in no median, and nothing known of the brokers is no 0.
func TestNeighboursReportOfGivenServers(t *testing.T) {
	r := neighboursSample()
	r.LeftOut = "no shard writes to a partition without a leader"
	r.Runs[1].CatchingUp, r.Runs[1].Trouble = nil, r.Runs[1].Trouble[:1]
	r.Runs[0].Calm.BrokerCPU = nil
	r.judge()
	if r.Median.CatchingUp != nil || r.CatchUpRatio != nil || r.Median.Calm.BrokerCPU != nil {
		t.Errorf("%+v", r.Median)
	}
	var out bytes.Buffer
	if err := r.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "neighbours-given.txt", out.Bytes())
	if err := (&NeighboursReport{}).WriteText(&bytes.Buffer{}); err != nil {
		t.Error(err)
	}
}
