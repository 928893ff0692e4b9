package consistency

import (
	"fmt"
	"strconv"
	"strings"
)

// Summary is the verdict in one sentence.
func (r *Report) Summary() string {
	switch {
	case r.Verdict == Drift:
		s := fmt.Sprintf("Redis and Kafka do not agree: %s among %s.", r.tally(r.drifts), plural(r.Entries, "entry", "entries"))
		if n := r.Counts[Unverifiable]; n > 0 || len(r.Incomplete) > 0 {
			s += " Besides, not everything could be compared."
		}
		return s
	case r.Verdict == Incomplete && r.OnlyPending():
		return fmt.Sprintf("No disagreement so far, and not everything could be compared: %s not been delivered yet.", have(r.Pending(), "entry", "entries"))
	case r.Verdict == Incomplete:
		s := "No disagreement was found, but not everything could be compared"
		if n := r.Counts[Unverifiable]; n > 0 {
			s += fmt.Sprintf(": %s could not be verified", plural(n, "entry", "entries"))
		}
		return s + "."
	case r.Entries == 0 && r.Records == 0:
		return "Redis and Kafka agree: there was nothing new to compare."
	}
	s := fmt.Sprintf("Redis and Kafka agree: %s compared, each delivered once, unchanged and in order", plural(r.Entries, "entry", "entries"))
	if n := r.Counts[Duplicated]; n > 0 { // allowed, else it would be drift
		s = fmt.Sprintf("Redis and Kafka agree: %s compared, each delivered, unchanged and in order, with %s, which at-least-once delivery allows",
			plural(r.Entries, "entry", "entries"), plural(n, "duplicate", "duplicates"))
	}
	if r.DeadLetters > 0 {
		s += fmt.Sprintf("; %s of them to the dead letters", Grouped(r.DeadLetters))
	}
	if n := r.Counts[Late]; n > 0 {
		s += fmt.Sprintf("; %s late", Grouped(n))
	}
	return s + "."
}

// Pending is how many entries up to the watermarks have not been delivered yet.
func (r *Report) Pending() (n int64) {
	for _, s := range r.Range {
		n += s.Pending
	}
	return n
}

// OnlyPending reports whether all that could not be compared is what has not been delivered yet.
func (r *Report) OnlyPending() bool {
	waiting := 0
	for _, s := range r.Range {
		if s.Pending > 0 {
			waiting++
		}
	}
	return waiting > 0 && r.Counts[Unverifiable] == 0 && len(r.Incomplete) == waiting
}

// tally names the counts of the kinds that are wanted: "1 lost, 2 altered".
func (r *Report) tally(wanted func(Kind) bool) string {
	var parts []string
	for _, k := range Kinds {
		if n := r.Counts[k]; n > 0 && wanted(k) {
			parts = append(parts, Grouped(n)+" "+string(k))
		}
	}
	return strings.Join(parts, ", ")
}

// Grouped is a number with its thousands apart: 1,234,567.
func Grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func plural(n int64, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return Grouped(n) + " " + more
}

func have(n int64, one, more string) string {
	if n == 1 {
		return "1 " + one + " has"
	}
	return Grouped(n) + " " + more + " have"
}
