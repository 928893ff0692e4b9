package report

import (
	"math"
	"strings"
	"testing"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/outbox"
)

func TestSummary(t *testing.T) {
	t.Parallel()
	pending := []consistency.ShardRange{{Pending: 3}, {}}
	for _, x := range []struct {
		want   string
		report consistency.Report
	}{
		{"Redis and Kafka agree: 1,234,567 entries compared, each delivered once, unchanged and in " +
			"order.", consistency.Report{
			Verdict: consistency.Agree, Entries: 1_234_567,
			Records: 1_234_567,
		}},
		{
			"Redis and Kafka agree: 1 entry compared, each delivered once, unchanged and in order; 1 of " +
				"them to the dead letters; 2 late.",
			consistency.Report{
				Verdict: consistency.Agree, Entries: 1, DeadLetters: 1,
				Counts: map[consistency.Kind]int64{consistency.Late: 2},
			},
		},
		{
			"Redis and Kafka agree: there was nothing new to compare.",
			consistency.Report{Verdict: consistency.Agree},
		},
		{
			"Redis and Kafka agree: 10 entries compared, each delivered, unchanged and in order, with 1 " +
				"duplicate, which at-least-once delivery allows.",
			consistency.Report{
				Verdict: consistency.Agree, Entries: 10, DuplicatesAllowed: true,
				Counts: map[consistency.Kind]int64{consistency.Duplicated: 1},
			},
		},
		{
			"Redis and Kafka do not agree: 2 lost, 1 altered among 10 entries.",
			consistency.Report{
				Verdict: consistency.Drift, Entries: 10, DuplicatesAllowed: true,
				Counts: map[consistency.Kind]int64{
					consistency.Lost: 2, consistency.Altered: 1,
					consistency.Duplicated: 5, consistency.Late: 1,
				},
			},
		},
		{"Redis and Kafka do not agree: 2 lost among 10 entries. Besides, not everything could be " +
			"compared.", consistency.Report{
			Verdict: consistency.Drift, Entries: 10,
			Counts: map[consistency.Kind]int64{consistency.Lost: 2}, Incomplete: []string{"x"},
		}},
		{"No disagreement was found, but not everything could be compared: 12 entries could not be " +
			"verified.", consistency.Report{
			Verdict: consistency.Incomplete,
			Counts:  map[consistency.Kind]int64{consistency.Unverifiable: 12},
		}},
		{
			"No disagreement was found, but not everything could be compared.",
			consistency.Report{Verdict: consistency.Incomplete, Incomplete: []string{"kafka: away"}},
		},
		{"No disagreement so far, and not everything could be compared: 3 entries have not been " +
			"delivered yet.", consistency.Report{
			Verdict: consistency.Incomplete, Range: pending,
			Incomplete: []string{"x"},
		}},
		{
			"No disagreement was found, but not everything could be compared.",
			consistency.Report{
				Verdict: consistency.Incomplete, Range: pending,
				Incomplete: []string{"x", "and another reason"},
			},
		},
	} {
		if got := Summary(&x.report); got != x.want {
			t.Errorf("got  %s\nwant %s", got, x.want)
		}
	}
}

// Every kind says what it is and what to do, and nothing is advised where nothing is wrong.
func TestEveryKindHasAdvice(t *testing.T) {
	t.Parallel()
	for _, k := range consistency.Kinds {
		if Meaning(k) == "" || Advice(k) == "" {
			t.Errorf("%s says nothing", k)
		}
		r := consistency.Report{Counts: map[consistency.Kind]int64{k: 1}}
		if next := Next(&r); len(next) != 1 || next[0] != (Step{string(k), Advice(k)}) {
			t.Errorf("%s: %v", k, next)
		}
	}
	if next := Next(&consistency.Report{
		Counts:            map[consistency.Kind]int64{consistency.Duplicated: 1},
		DuplicatesAllowed: true,
	}); len(next) > 0 {
		t.Errorf("%v", next)
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	for _, x := range []struct{ text, want string }{
		{"plain, ünïcode, 漢字", "plain, ünïcode, 漢字"},
		{"\x1b[2J\r\n\t\x00", `\x1b[2J\r\n\t\x00`},
		{"a\u202eb\u2066\ufeff", `a\u202eb\u2066\ufeff`},
		{"\xff\xfe", `\xff\xfe`},
		{strings.Repeat("x", 2000), strings.Repeat("x", mostPrintable) + "… (2000 bytes)"},
	} {
		if got := Printable(x.text); got != x.want {
			t.Errorf("%q: %q, want %q", x.text, got, x.want)
		}
	}
	last := outbox.EntryID{MS: math.MaxUint64, Seq: math.MaxUint64}
	for after, want := range map[outbox.EntryID]string{
		{}:              "the beginning",
		{MS: 5, Seq: 3}: "after 5-3", {MS: 5, Seq: math.MaxUint64}: "6-0", {MS: 6, Seq: 1}: "after 6-1",
		last: "after " + last.String(),
	} {
		if got := From(after); got != want {
			t.Errorf("%s: %s, want %s", after, got, want)
		}
	}
	if got := Grouped(-1234567) + " " + Grouped(123) + " " + Grouped(-123) + " " +
		Grouped(1000); got != "-1,234,567 123 -123 1,000" {
		t.Error(got)
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("\x1b\u202e\xff")
	f.Fuzz(func(t *testing.T, text string) {
		for _, r := range Printable(text) {
			if r < ' ' || r == 0x7f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
				t.Errorf("%q: %q", text, Printable(text))
			}
		}
	})
}
