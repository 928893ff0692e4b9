package auditing

import (
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC) // a Monday

func TestNext(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Time{
		"TZ=UTC */15 * * * *":            noon.Add(15 * time.Minute),
		"CRON_TZ=UTC 0 5 * * *":          noon.Add(17 * time.Hour),
		"TZ=Europe/Berlin 30 13 * * *":   noon.Add(30 * time.Minute),
		" @every 90s ":                   noon.Add(90 * time.Second),
		"TZ=UTC @hourly":                 noon.Add(time.Hour),
		"TZ=UTC 0 0 29 2 *":              time.Date(2028, 2, 29, 0, 0, 0, 0, time.UTC),
		"TZ=UTC 0 12 * * MON":            noon.AddDate(0, 0, 7),
		"TZ=America/New_York @every 15m": noon.Add(15 * time.Minute),
	} {
		s, err := ParseSchedule(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := s.Next(noon); !got.Equal(want) {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                     "expected a cron expression",
		"CRON_TZ=":             "expected a cron expression",
		"TZ=Europe/Berlin":     "expected a cron expression",
		"TZ=Nowhere 0 5 * * *": "bad location",
		"15m":                  "exactly 5 fields",
		"* * * * * *":          "exactly 5 fields",
		"61 * * * *":           "above maximum",
		"0 0 31 2 *":           "never comes",
		"@sometimes":           "unrecognized descriptor",
		"@every":               "unrecognized descriptor",
		"@every 0s":            "whole seconds",
		"@every 200ms":         "whole seconds",
		"@every 1500ms":        "whole seconds",
		"@every -5m":           "whole seconds",
		"TZ=UTC @every -5m":    "whole seconds",
	} {
		if _, err := ParseSchedule(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestPassed(t *testing.T) {
	t.Parallel()
	quarter, err := ParseSchedule("TZ=UTC */15 * * * *")
	if err != nil {
		t.Fatal(err)
	}
	for took, want := range map[time.Duration]int{
		0: 0, 15*time.Minute - 1: 0, 15 * time.Minute: 1, 44 * time.Minute: 2, 45 * time.Minute: 3,
		100 * 24 * time.Hour: mostPassed,
	} {
		if got := quarter.Passed(noon, noon.Add(took)); got != want {
			t.Errorf("after %s: %d, want %d", took, got, want)
		}
	}
}

func TestLongestGap(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"TZ=UTC */15 * * * *":       15 * time.Minute,
		"TZ=UTC 0 8-18 * * MON-FRI": 62 * time.Hour, // from Friday evening to Monday morning
		"@every 1h30m":              90 * time.Minute,
	} {
		s, err := ParseSchedule(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.LongestGap(noon); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// Whatever is typed is accepted or refused, and what is accepted comes.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"*/15 * * * *", "@hourly", "CRON_TZ=", "TZ=Europe/Berlin 0 5 * * *",
		"TZ= ", "0 0 31 2 *", "@every 15m", "@every -1ns", "TZ=UTC @every 1h", "CRON_TZ=Local",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSchedule(text)
		if err != nil {
			return
		}
		if next := s.Next(noon); !next.IsZero() && !next.After(noon) {
			t.Errorf("%q: %s comes after %s", text, next, noon)
		}
		if n := s.Passed(noon, noon.Add(time.Hour)); n < 0 || n > mostPassed {
			t.Errorf("%q: %d times passed", text, n)
		}
	})
}
