package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/sluice-outbox/sluice/internal/demo"
)

// What was planted and found is drift, for scripts too.
func TestDemoPlant(t *testing.T) {
	var out, errs bytes.Buffer
	code := run(t.Context(), &app{out: &out, err: &errs},
		[]string{"demo", "--events", "50", "--plant", "misdirected", "-o", "json"})
	if code != exitThreshold {
		t.Errorf("exit status %d: %s", code, &errs)
	}
	var v demo.Verdict
	if err := json.Unmarshal(out.Bytes(), &v); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if !v.OK || v.Audit.Entries < 50 || v.Planted == nil || !v.Planted.Found {
		t.Errorf("%s", &out)
	}
	errs.Reset()
	if code := run(t.Context(), &app{out: &out, err: &errs},
		[]string{"demo", "--plant", "stolen"}); code != exitUsage ||
		!strings.Contains(errs.String(), "want one of") {
		t.Errorf("exit status %d: %s", code, &errs)
	}
}
