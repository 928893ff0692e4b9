package bench

import (
	"bytes"
	"strings"
	"testing"
)

func sampleAudit() *AuditReport {
	run := func(rate, cpu float64, redis *float64, mib int64) AuditRun {
		return AuditRun{Rate: rate, CPU: ptr(cpu), RedisCPU: redis, Peak: mib << 20}
	}
	r := &AuditReport{
		Environment: Environment{
			Redis: "Redis 7.0.15", Kafka: "Kafka 4.3.0", Go: "go1.26", Cores: 2,
			OS: "linux", Arch: "amd64",
		},
		Entries: 1_000_000, Payload: 200, Rounds: 3, Backlog: 600_000, Effort: 0.2,
		Speed: []AuditResult{
			{Driver: Driver{RedisBaseline, 1}, Median: run(500_000, 1.3, ptr(0.5), 43)},
			{Driver: Driver{KafkaRead, 1}, Median: run(1_000_000, 0.6, nil, 98)},
			{Driver: Driver{Audit, 1}, Median: run(400_000, 1.5, ptr(0.5), 60)},
			{Driver: Driver{GentleAudit, 1}, Median: run(31_000, 2, ptr(0.6), 42)},
			{Driver: Driver{Audit, 4}, Median: run(180_000, 1.5, ptr(0.5), 300)},
		},
		Cost: &AuditCost{Driver: Driver{ExactlyOnce, 1}, Baseline: 200_000, Beside: []AuditBeside{
			{Kind: GentleAudit, Rate: 190_000, Kept: 0.95, Cores: 0.05},
			{Kind: Audit, Rate: 140_000, Kept: 0.7, Cores: 0.32},
		}},
	}
	r.judge()
	return r
}

func TestAuditReportReads(t *testing.T) {
	var out bytes.Buffer
	if err := sampleAudit().WriteText(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "audit.txt", out.Bytes())
	if err := (&AuditReport{}).WriteText(&out); err != nil {
		t.Error(err)
	}
}

func TestAuditTargets(t *testing.T) {
	var got []string
	for _, g := range sampleAudit().Targets {
		verdict := " missed"
		if g.Reached {
			verdict = " reached"
		}
		got = append(got, g.Name+verdict)
	}
	want := []string{
		"audit over 1 shard(s), entries/s reached", "audit over 1 shard(s), MiB reached",
		"audit over 4 shard(s), entries/s missed", "audit over 4 shard(s), MiB missed",
		"relay beside a continuous audit over the relay alone, entries/s reached",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("judged %q", got)
	}
}

func TestAuditOptions(t *testing.T) {
	drive := []string{"x"}
	if err := (AuditOptions{Drive: drive, Backlog: -1}).Check(); err != nil {
		t.Error(err)
	}
	err := AuditOptions{
		Drive: drive, Entries: 1, Payload: 5, Rounds: -1, Shards: []int{100},
		Backlog: 7,
	}.Check()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"entries: 1,", "payload: 5 bytes", "rounds", "shards: 100",
		"backlog: 7,",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %q:\n%v", want, err)
		}
	}
	o := AuditOptions{Entries: 7_000}.Quick(func(flag string) bool { return flag == "entries" })
	if o.Entries != 7_000 || o.Rounds != 1 || o.Backlog != 50_000 {
		t.Errorf("quick: %+v", o)
	}
}
