//go:build integration

package bench

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/relay"
)

// On given servers, where no broker can be stopped, and on servers of its own. What is measured is
// not looked at, only that it is.
func TestRunNeighboursMeasuresBothRuns(t *testing.T) {
	shared := integration.Servers(t)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	given := NeighboursOptions{
		Redis: shared.Redis.Addr, Kafka: shared.Kafka.Addrs(),
		Shards: 6, Rate: 60, For: 2 * time.Second, Backlog: 20_000,
		Drive: []string{program}, DriveEnv: []string{driveEnv + "=1"}, Progress: t.Logf,
	}
	own := given
	own.Kafka = nil
	for name, o := range map[string]NeighboursOptions{"given": given, "own": own} {
		t.Run(name, func(t *testing.T) {
			report, err := RunNeighbours(integration.Context(t, 5*time.Minute), o)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := report.WriteText(&out); err != nil {
				t.Error(err)
			}
			t.Log("\n" + out.String())
			r := report.Runs[0]
			for _, p := range []NeighboursPart{r.Calm, r.Troubled} {
				if p.BrokerCPU != nil && (name == "given" || *p.BrokerCPU <= 0) {
					t.Errorf("%.2f %% of broker CPU", *p.BrokerCPU)
				}
				if p.Events != 120 || p.P50 <= 0 || p.P99 < p.P50 || p.Max < p.P99 || p.CPU == nil ||
					p.Transactions == nil {
					t.Errorf("%+v", p)
				}
			}
			if r.Duplicates != 0 || r.OutOfOrder != 0 {
				t.Errorf("%d duplicates, %d out of order", r.Duplicates, r.OutOfOrder)
			}
			want := []int{3, 4, 5}
			if name == "given" {
				want = []int{3, 5}
			}
			if (report.LeftOut != "") != (name == "given") || len(r.Trouble) != len(want) {
				t.Fatalf("left out: %q; %+v", report.LeftOut, r.Trouble)
			}
			for i, x := range r.Trouble {
				if x.Shard != want[i] || x.Written == 0 || x.State == relay.StatePaused {
					t.Errorf("%+v", x)
				}
			}
			nothingLeft(t, shared.Redis)
		})
	}
}
