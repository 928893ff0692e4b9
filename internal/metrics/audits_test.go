package metrics

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/outbox"
)

func auditReport(run int64, v consistency.Verdict) *consistency.Report {
	began := time.Unix(1_700_000_000+run*900, 0)
	return &consistency.Report{
		Run: run, Verdict: v, Started: began, Finished: began.Add(31 * time.Second), Entries: 100,
		Records: 101,
		Counts:  map[consistency.Kind]int64{consistency.Lost: 3},
		Range: []consistency.ShardRange{
			{
				Shard: 0, To: outbox.EntryID{MS: 1_700_000_000_500},
				Watermark: outbox.EntryID{MS: 1_700_000_000_500}, Missing: 3,
			},
			{
				Shard: 1, To: outbox.EntryID{MS: 1_700_000_000_250},
				Watermark: outbox.EntryID{MS: 1_700_000_000_900}, Pending: 7, Unverified: 2,
			},
			{Shard: 2, Watermark: outbox.EntryID{MS: 1_700_000_000_900}},
		},
	}
}

// What an audit said is told by the process whose turn it is, also of audits that others ran before
// it.
func TestAudits(t *testing.T) {
	turn := false
	m := NewRelay("orders", Build{}).Audits(func() bool { return turn })
	const gauges = "sluice_audit_verdict"
	if n := testutil.CollectAndCount(m, gauges); n != 0 {
		t.Errorf("%d series although another one audits", n)
	}
	turn = true
	if n := testutil.CollectAndCount(m); n != 0 {
		t.Errorf("%d series of no audit", n)
	}
	m.Recall([]*consistency.Report{
		auditReport(1, consistency.Agree),
		auditReport(2, consistency.Incomplete),
	})
	m.Audited(auditReport(3, consistency.Drift))
	m.Skipped(2)
	err := testutil.GatherAndCompare(m.Gatherer(), strings.NewReader(`
# HELP sluice_audit_compared_up_to_timestamp_seconds Everything that was in Redis by this time has been compared.
# TYPE sluice_audit_compared_up_to_timestamp_seconds gauge
sluice_audit_compared_up_to_timestamp_seconds{outbox="orders",shard="0"} 1.7000027e+09
sluice_audit_compared_up_to_timestamp_seconds{outbox="orders",shard="1"} 1.70000000025e+09
# HELP sluice_audit_duration_seconds How long the last audit took, waiting for what was on its way among it.
# TYPE sluice_audit_duration_seconds gauge
sluice_audit_duration_seconds{outbox="orders"} 31
# HELP sluice_audit_entries_total Entries that audits of this process have compared.
# TYPE sluice_audit_entries_total counter
sluice_audit_entries_total{outbox="orders"} 100
# HELP sluice_audit_findings Findings of the last audit, in entries or records.
# TYPE sluice_audit_findings gauge
sluice_audit_findings{kind="altered",outbox="orders"} 0
sluice_audit_findings{kind="duplicated",outbox="orders"} 0
sluice_audit_findings{kind="late",outbox="orders"} 0
sluice_audit_findings{kind="lost",outbox="orders"} 3
sluice_audit_findings{kind="misdirected",outbox="orders"} 0
sluice_audit_findings{kind="orphaned",outbox="orders"} 0
sluice_audit_findings{kind="reordered",outbox="orders"} 0
sluice_audit_findings{kind="unverifiable",outbox="orders"} 0
# HELP sluice_audit_last_success_timestamp_seconds When the last audit ended in which both sides agreed.
# TYPE sluice_audit_last_success_timestamp_seconds gauge
sluice_audit_last_success_timestamp_seconds{outbox="orders"} 1.700000931e+09
# HELP sluice_audit_last_timestamp_seconds When the last audit ended, whatever it found.
# TYPE sluice_audit_last_timestamp_seconds gauge
sluice_audit_last_timestamp_seconds{outbox="orders"} 1.700002731e+09
# HELP sluice_audit_missing_entries Entries that audits have found lost and that have no record yet.
# TYPE sluice_audit_missing_entries gauge
sluice_audit_missing_entries{outbox="orders",shard="0"} 3
sluice_audit_missing_entries{outbox="orders",shard="1"} 0
sluice_audit_missing_entries{outbox="orders",shard="2"} 0
# HELP sluice_audit_pending_entries Entries that had not been delivered when the last audit came to them.
# TYPE sluice_audit_pending_entries gauge
sluice_audit_pending_entries{outbox="orders",shard="0"} 0
sluice_audit_pending_entries{outbox="orders",shard="1"} 7
sluice_audit_pending_entries{outbox="orders",shard="2"} 0
# HELP sluice_audit_records_total Records that audits of this process have compared.
# TYPE sluice_audit_records_total counter
sluice_audit_records_total{outbox="orders"} 101
# HELP sluice_audit_runs_total Audits of this process, by verdict; failed: without a report.
# TYPE sluice_audit_runs_total counter
sluice_audit_runs_total{outbox="orders",verdict="agree"} 0
sluice_audit_runs_total{outbox="orders",verdict="drift"} 1
sluice_audit_runs_total{outbox="orders",verdict="failed"} 0
sluice_audit_runs_total{outbox="orders",verdict="incomplete"} 0
# HELP sluice_audit_skipped_total Times of the schedule that passed while an audit was running.
# TYPE sluice_audit_skipped_total counter
sluice_audit_skipped_total{outbox="orders"} 2
# HELP sluice_audit_unverified_entries Entries that could not be compared, over all audits so far.
# TYPE sluice_audit_unverified_entries gauge
sluice_audit_unverified_entries{outbox="orders",shard="0"} 0
sluice_audit_unverified_entries{outbox="orders",shard="1"} 2
sluice_audit_unverified_entries{outbox="orders",shard="2"} 0
# HELP sluice_audit_verdict 1 for the verdict of the last audit, 0 for the others.
# TYPE sluice_audit_verdict gauge
sluice_audit_verdict{outbox="orders",verdict="agree"} 0
sluice_audit_verdict{outbox="orders",verdict="drift"} 1
sluice_audit_verdict{outbox="orders",verdict="failed"} 0
sluice_audit_verdict{outbox="orders",verdict="incomplete"} 0
`), "sluice_audit_compared_up_to_timestamp_seconds", "sluice_audit_duration_seconds",
		"sluice_audit_entries_total", "sluice_audit_findings",
		"sluice_audit_last_success_timestamp_seconds", "sluice_audit_last_timestamp_seconds",
		"sluice_audit_missing_entries", "sluice_audit_pending_entries",
		"sluice_audit_records_total", "sluice_audit_runs_total", "sluice_audit_skipped_total",
		"sluice_audit_unverified_entries", "sluice_audit_verdict")
	if err != nil {
		t.Error(err)
	}
}

// An audit without a report is a verdict of its own, and leaves what the one before it has found.
func TestAuditsThatFail(t *testing.T) {
	m := NewAudits("orders", Build{})
	m.Audited(nil)
	const want = `
# HELP sluice_audit_verdict 1 for the verdict of the last audit, 0 for the others.
# TYPE sluice_audit_verdict gauge
sluice_audit_verdict{outbox="orders",verdict="agree"} 0
sluice_audit_verdict{outbox="orders",verdict="drift"} 0
sluice_audit_verdict{outbox="orders",verdict="failed"} 1
sluice_audit_verdict{outbox="orders",verdict="incomplete"} 0
`
	if err := testutil.CollectAndCompare(m, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	m.Audited(auditReport(1, consistency.Agree))
	m.Audited(nil)
	if err := testutil.CollectAndCompare(m, strings.NewReader(want),
		"sluice_audit_verdict"); err != nil {
		t.Error(err)
	}
	if n := testutil.CollectAndCount(m, "sluice_audit_findings"); n != len(consistency.Kinds) {
		t.Errorf("%d series of findings", n)
	}
}
