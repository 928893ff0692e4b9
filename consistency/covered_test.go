package consistency

import (
	"strings"
	"testing"
)

// TestCoverage: what was removed before an audit came to it is remembered, and what was there before the first one is told apart.
func TestCoverage(t *testing.T) {
	t.Parallel()
	streams, logs, a := plainWorld(10)
	covered := func(want string) {
		t.Helper()
		if r := mustRun(t, a); !strings.HasPrefix(r.Coverage(), want) {
			t.Errorf("%s, want %s: %+v", r.Coverage(), want, r.Range)
		}
	}
	covered("complete: every entry that was ever added has been compared")
	// What was audited may go.
	grow(streams, logs, 10, 30, true)
	streams.shards[0].entries = streams.shards[0].entries[8:]
	covered("complete: every entry that was ever added has been compared")
	// What was not may not.
	grow(streams, logs, 30, 60, true)
	streams.shards[0].entries = streams.shards[0].entries[25:]
	covered("not complete: 3 entries could not be compared")
	grow(streams, logs, 60, 61, true)
	covered("not complete: 3 entries")
	grow(streams, logs, 61, 62, false)
	if r := mustRun(t, a); !strings.HasSuffix(r.Coverage(), "in 1 of 1 shards the newest are still to come") {
		t.Errorf("%s", r.Coverage())
	}
	if got := newReport("o", 1).Coverage(); got != "nothing has been compared" {
		t.Error(got)
	}
}

// TestCoverageSinceTheFirstAudit: a stream that had been trimmed before the first audit is not covered from its start.
func TestCoverageSinceTheFirstAudit(t *testing.T) {
	t.Parallel()
	streams, logs, a := plainWorld(10)
	streams.shards[0].entries = streams.shards[0].entries[4:]
	for range 2 {
		if r := mustRun(t, a); !strings.HasPrefix(r.Coverage(), "complete since the first audit") || r.Range[0].FromStart {
			t.Errorf("%s %+v", r.Coverage(), r.Range)
		}
		grow(streams, logs, len(logs.byName["t.a"][0].records), len(logs.byName["t.a"][0].records)+5, true)
	}
}
