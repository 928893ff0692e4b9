package metrics

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-outbox/sluice/consistency"
)

// failed is the verdict of an audit without a report.
const failed = "failed"

// verdicts are all values of the label verdict.
var verdicts = []string{
	string(consistency.Agree), string(consistency.Drift),
	string(consistency.Incomplete), failed,
}

// Audits is the metrics of the audits that a process runs. What the last audit said is absent as
// long as it is not this process's turn to audit, or nobody has audited yet: of many relays one has
// these gauges.
type Audits struct {
	registry *prometheus.Registry
	turn     func() bool

	runs             *prometheus.CounterVec
	entries, records prometheus.Counter
	skipped          prometheus.Counter

	findings, verdict, success, last, took, upTo, pending, unverified, missing *prometheus.Desc

	mu     sync.Mutex
	report *consistency.Report // the last one; nil: none is known
	failed bool                // the last audit gave none
	agreed time.Time           // end of the last audit that agreed; zero: none is known
}

// NewAudits makes the metrics of a process that only audits.
func NewAudits(outbox string, build Build) *Audits {
	return newAudits(newRegistry(build), outbox, func() bool { return true })
}

// Audits adds the metrics of audits to those of a relay; turn reports whether this relay is the one
// that audits.
func (m *Relay) Audits(turn func() bool) *Audits { return newAudits(m.registry, m.outbox, turn) }

func newAudits(registry *prometheus.Registry, outbox string, turn func() bool) *Audits {
	label := prometheus.Labels{"outbox": outbox}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: label})
	}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, label)
	}
	a := &Audits{
		registry: registry, turn: turn,
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_audit_runs_total",
			Help: "Audits of this process, by verdict; failed: without a report.", ConstLabels: label,
		}, []string{"verdict"}),
		entries: counter("sluice_audit_entries_total",
			"Entries that audits of this process have compared."),
		records: counter("sluice_audit_records_total",
			"Records that audits of this process have compared."),
		skipped: counter("sluice_audit_skipped_total",
			"Times of the schedule that passed while an audit was running."),

		findings: desc("sluice_audit_findings", "Findings of the last audit, in entries or records.",
			"kind"),
		verdict: desc("sluice_audit_verdict", "1 for the verdict of the last audit, 0 for the others.",
			"verdict"),
		success: desc("sluice_audit_last_success_timestamp_seconds",
			"When the last audit ended in which both sides agreed."),
		last: desc("sluice_audit_last_timestamp_seconds",
			"When the last audit ended, whatever it found."),
		took: desc("sluice_audit_duration_seconds",
			"How long the last audit took, waiting for what was on its way among it."),
		upTo: desc("sluice_audit_compared_up_to_timestamp_seconds",
			"Everything that was in Redis by this time has been compared.", "shard"),
		pending: desc("sluice_audit_pending_entries",
			"Entries that had not been delivered when the last audit came to them.", "shard"),
		unverified: desc("sluice_audit_unverified_entries",
			"Entries that could not be compared, over all audits so far.", "shard"),
		missing: desc("sluice_audit_missing_entries",
			"Entries that audits have found lost and that have no record yet.", "shard"),
	}
	for _, v := range verdicts {
		a.runs.WithLabelValues(v)
	}
	registry.MustRegister(a.runs, a.entries, a.records, a.skipped, a)
	return a
}

// Gatherer is what /metrics serves.
func (a *Audits) Gatherer() prometheus.Gatherer { return a.registry }

// Recall takes the reports of earlier audits, the oldest first, whoever made them.
func (a *Audits) Recall(reports []*consistency.Report) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range reports {
		a.take(r)
	}
}

// Audited counts an audit of this process; r is nil if it failed.
func (a *Audits) Audited(r *consistency.Report) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r == nil {
		a.runs.WithLabelValues(failed).Inc()
		a.failed = true
		return
	}
	a.runs.WithLabelValues(string(r.Verdict)).Inc()
	a.entries.Add(float64(r.Entries))
	a.records.Add(float64(r.Records))
	a.take(r)
}

// Skipped counts times of the schedule that passed unused.
func (a *Audits) Skipped(n int) { a.skipped.Add(float64(n)) }

func (a *Audits) take(r *consistency.Report) {
	a.report, a.failed = r, false
	if r.Verdict == consistency.Agree {
		a.agreed = r.Finished
	}
}

// Describe implements prometheus.Collector.
func (a *Audits) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		a.findings, a.verdict, a.success, a.last, a.took, a.upTo,
		a.pending, a.unverified, a.missing,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (a *Audits) Collect(ch chan<- prometheus.Metric) {
	if !a.turn() {
		return
	}
	a.mu.Lock()
	r, isFailed, agreed := a.report, a.failed, a.agreed
	a.mu.Unlock()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if r != nil || isFailed {
		for _, v := range verdicts {
			gauge(a.verdict, truth(isFailed && v == failed || !isFailed && v == string(r.Verdict)), v)
		}
	}
	if !agreed.IsZero() {
		gauge(a.success, seconds(agreed))
	}
	if r == nil {
		return
	}
	for _, k := range consistency.Kinds {
		gauge(a.findings, float64(r.Counts[k]), string(k))
	}
	gauge(a.last, seconds(r.Finished))
	gauge(a.took, r.Finished.Sub(r.Started).Seconds())
	for _, s := range r.Range {
		shard := strconv.Itoa(s.Shard)
		gauge(a.pending, float64(s.Pending), shard)
		gauge(a.unverified, float64(s.Unverified), shard)
		gauge(a.missing, float64(s.Missing), shard)
		switch {
		case s.To == s.Watermark: // the last entry that there was when the audit began
			gauge(a.upTo, seconds(r.Started), shard)
		case s.Since.Less(s.To):
			gauge(a.upTo, float64(s.To.MS)/1000, shard)
		}
	}
}

func seconds(t time.Time) float64 { return float64(t.UnixNano()) / float64(time.Second) }
