package consistency

import (
	"errors"
	"strings"
	"testing"
)

// TestPanicIsAnError wherever it comes from: in a goroutine that reads a partition, or in the run
// itself. What was saved is kept.
func TestPanicIsAnError(t *testing.T) {
	t.Parallel()
	_, logs, a := plainWorld(10)
	logs.fail = func(string, int32, int64) error { panic("broken") }
	var p *panicError
	if r, err := a.run(); r != nil || !errors.As(err, &p) ||
		!strings.Contains(err.Error(), "broken") || !strings.Contains(string(p.stack), "readRecords") {
		t.Fatalf("%v %v", r, err)
	}
	logs.fail = nil
	if r := mustRun(t, a); r.Verdict != Agree || r.Entries != 10 {
		t.Fatalf("%s %d", r.Verdict, r.Entries)
	}
}
