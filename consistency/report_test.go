package consistency

import "testing"

// TestCoverage: what was removed before an audit came to it is remembered, and what was there
// before the first one is told apart.
func TestCoverage(t *testing.T) {
	t.Parallel()
	streams, logs, a := plainWorld(10)
	covered := func(unverified int64) {
		t.Helper()
		if s := mustRun(t, a).Range[0]; !s.FromStart || s.Unverified != unverified ||
			s.To != s.Watermark {
			t.Errorf("want %d unverified: %+v", unverified, s)
		}
	}
	covered(0)
	// What was audited may go.
	grow(streams, logs, 10, 30, true)
	streams.shards[0].entries = streams.shards[0].entries[8:]
	covered(0)
	// What was not may not.
	grow(streams, logs, 30, 60, true)
	streams.shards[0].entries = streams.shards[0].entries[25:]
	covered(3)
	grow(streams, logs, 60, 61, true)
	covered(3)
	grow(streams, logs, 61, 62, false)
	if s := mustRun(t, a).Range[0]; s.To == s.Watermark || s.Unverified != 3 {
		t.Errorf("the newest are still to come: %+v", s)
	}
}

// TestCoverageSinceTheFirstAudit: a stream that had been trimmed before the first audit is not
// covered from its start.
func TestCoverageSinceTheFirstAudit(t *testing.T) {
	t.Parallel()
	streams, logs, a := plainWorld(10)
	streams.shards[0].entries = streams.shards[0].entries[4:]
	for range 2 {
		if s := mustRun(t, a).Range[0]; s.Unverified != 0 || s.FromStart || s.To != s.Watermark {
			t.Errorf("%+v", s)
		}
		grow(streams, logs, len(logs.byName["t.a"][0].records), len(logs.byName["t.a"][0].records)+5,
			true)
	}
}
