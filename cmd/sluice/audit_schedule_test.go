package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/sluice-outbox/sluice/consistency"
)

// metric gives the value of a series as /metrics has it, empty if it has none.
func metric(t *testing.T, url, series string) string {
	t.Helper()
	_, body := get(t, url+"/metrics")
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (.*)$`).FindStringSubmatch(body)
	if m == nil {
		return ""
	}
	return m[1]
}

// Audits on a schedule of the configuration go on until they are stopped, which is no failure; each
// report is printed, and the listener tells of the last one.
func TestAuditSchedule(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	out := &lockedBuffer{}
	url, stop := s.serve(t, out, "audit", "--schedule", "-o", "jsonl", "--settle", "0", "--set",
		"audit.schedule=@every 1s", "--set", "audit.on_duplicate=report")
	if code, body := get(t, url+"/livez"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("/livez: %d %q", code, body)
	}
	eventually(t, "two reports", func() bool { return strings.Count(out.String(), "\n") >= 2 })
	if code, body := get(t, url+"/readyz"); code != http.StatusOK {
		t.Errorf("/readyz: %d %q", code, body)
	}
	if got := metric(t, url, `sluice_audit_verdict{outbox="orders",verdict="agree"}`); got != "1" {
		t.Errorf("the verdict is not agree: %q", got)
	}
	if got := metric(t, url,
		`sluice_audit_last_success_timestamp_seconds{outbox="orders"}`); got == "" {
		t.Error("no audit has agreed")
	}
	stop()
	line, _, _ := strings.Cut(out.String(), "\n")
	var r consistency.Report
	if err := json.Unmarshal([]byte(line), &r); err != nil || r.Run != 1 ||
		r.Verdict != consistency.Agree {
		t.Errorf("%v: %s", err, line)
	}
}

// An outbox that cannot be audited makes the process unready, and does not end it.
func TestAuditScheduleWithoutLayout(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.mini.FlushAll()
	url, _ := s.serve(t, &bytes.Buffer{}, "audit", "--schedule", "@every 1s", "--settle", "0")
	eventually(t, "unready", func() bool {
		code, body := get(t, url+"/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "the last audit failed")
	})
	if got := metric(t, url, `sluice_audit_verdict{outbox="orders",verdict="failed"}`); got != "1" {
		t.Errorf("the verdict is not failed: %q", got)
	}
}

// A relay audits what it delivers. What audits have not come to is not trimmed, and that is told.
func TestRelayAudits(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	url, stop := s.relay(t, "--set", "audit.schedule=@every 1s", "--set", "audit.settle=2s", "--set",
		"relay.trim.after_audit=true", "--set", "relay.trim.keep=1ms")
	for range 3 {
		s.add(t, 1, event...)
	}
	eventually(t, "an audit has compared what was added", func() bool {
		return metric(t, url, `sluice_audit_entries_total{outbox="orders"}`) == "3"
	})
	if got := metric(t, url, `sluice_audit_verdict{outbox="orders",verdict="drift"}`); got != "0" {
		t.Errorf("drift: %q", got)
	}
	stop()
	// The reports are where any other audit finds them.
	if out, _ := s.run(t, exitFine, "audit", "history"); !strings.Contains(out, "agree") {
		t.Errorf("%s", out)
	}
}

// The metrics of audits are those of a process that audits.
func TestRelayWithoutSchedule(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	url, _ := s.relay(t, "--set", "relay.trim.after_audit=true")
	s.add(t, 1, event...)
	eventually(t, "delivered", func() bool {
		return metric(t, url, `sluice_shard_position_entries{outbox="orders",shard="1"}`) == "1"
	})
	if _, body := get(t, url+"/metrics"); strings.Contains(body, "sluice_audit_") {
		t.Errorf("%s", body)
	}
}
