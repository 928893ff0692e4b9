package report

import (
	"fmt"
	"strings"

	"github.com/sluice-outbox/sluice/consistency"
)

// Summary is the verdict in one sentence.
func Summary(r *consistency.Report) string {
	switch {
	case r.Verdict == consistency.Drift:
		s := fmt.Sprintf("Redis and Kafka do not agree: %s among %s.", tally(r, r.Drifts),
			plural(r.Entries, "entry", "entries"))
		if n := r.Counts[consistency.Unverifiable]; n > 0 || len(r.Incomplete) > 0 {
			s += " Besides, not everything could be compared."
		}
		return s
	case r.Verdict == consistency.Incomplete && r.OnlyPending():
		return fmt.Sprintf(
			"No disagreement so far, and not everything could be compared: %s not been delivered yet.",
			have(r.Pending(), "entry", "entries"))
	case r.Verdict == consistency.Incomplete:
		s := "No disagreement was found, but not everything could be compared"
		if n := r.Counts[consistency.Unverifiable]; n > 0 {
			s += fmt.Sprintf(": %s could not be verified", plural(n, "entry", "entries"))
		}
		return s + "."
	case r.Entries == 0 && r.Records == 0:
		return "Redis and Kafka agree: there was nothing new to compare."
	}
	s := fmt.Sprintf("Redis and Kafka agree: %s compared, each delivered once, unchanged and in order",
		plural(r.Entries, "entry", "entries"))
	if n := r.Counts[consistency.Duplicated]; n > 0 { // allowed, else it would be drift
		s = fmt.Sprintf(
			"Redis and Kafka agree: %s compared, each delivered, unchanged and in order, with %s, which "+
				"at-least-once delivery allows",
			plural(r.Entries, "entry", "entries"), plural(n, "duplicate", "duplicates"))
	}
	if r.DeadLetters > 0 {
		s += fmt.Sprintf("; %s of them to the dead letters", Grouped(r.DeadLetters))
	}
	if n := r.Counts[consistency.Late]; n > 0 {
		s += fmt.Sprintf("; %s late", Grouped(n))
	}
	return s + "."
}

// tally names the counts of the kinds that are wanted: "1 lost, 2 altered".
func tally(r *consistency.Report, wanted func(consistency.Kind) bool) string {
	var parts []string
	for _, k := range consistency.Kinds {
		if n := r.Counts[k]; n > 0 && wanted(k) {
			parts = append(parts, Grouped(n)+" "+string(k))
		}
	}
	return strings.Join(parts, ", ")
}
