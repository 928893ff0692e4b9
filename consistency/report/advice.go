package report

import (
	"strings"

	"github.com/sluice-outbox/sluice/consistency"
)

// Meaning says in one sentence what a finding of this kind is.
func Meaning(k consistency.Kind) string { return kindTexts[k].meaning }

// Advice says what to do about it first. docs/audit-reports.md has the whole.
func Advice(k consistency.Kind) string { return kindTexts[k].advice }

var kindTexts = map[consistency.Kind]struct{ meaning, advice string }{
	consistency.Lost: {
		"An entry has no record in Kafka, although its shard was delivered past it.",
		"Switch the relay's trimming off, so that the entry stays in Redis; find who moved the " +
			"position or writes to the topic beside the relay; then send it again: " +
			"sluice audit --plan repair.json, sluice repair repair.json.",
	},
	consistency.Orphaned: {
		"A record belongs to an entry that Redis does not have and has never removed: Redis went back.",
		"Look for a failover, a restart with loss or a restored backup. Consumers have seen these " +
			"events: bring the application's state in Redis up to what the records say.",
	},
	consistency.Altered: {
		"A record is not what its entry says: key, payload, type, headers or partition differ.",
		"If all records differ in the same part, the format, the source or the tombstones are set " +
			"otherwise here than in the relay. Otherwise find the producer by the id in the detail.",
	},
	consistency.Duplicated: {
		"An entry has more than one committed record.",
		"In at-least-once delivery this follows a crash and is allowed. In exactly-once, find the " +
			"second producer by the id in the detail; consumers can tell the copies by the header id.",
	},
	consistency.Misdirected: {
		"A record is in another topic than the route gives.",
		"If the route was changed, what was delivered before keeps its topic. Otherwise find the " +
			"producer by the id in the detail. Consumers of the right topic have not seen the event, and " +
			"no repair sends it there.",
	},
	consistency.Reordered: {
		"A record comes after one of a later entry with the same key: consumers saw them in the " +
			"wrong order.",
		"Find the second producer by the id in the detail. Consumers that keep only the latest state " +
			"of a key have to read it again.",
	},
	consistency.Unverifiable: {
		"Something could not be compared. It is neither fine nor wrong.",
		"The detail says why. Trimmed or removed too early: audit more often than the relay trims and " +
			"the topic's retention. A topic that is gone or hidden: restore it, or its permission.",
	},
	consistency.Late: {
		"A record was missing at the first look and there at the second. This is no drift.",
		"If it is frequent, give entries more time to settle, or see with sluice status why delivery " +
			"is slow.",
	},
}

// Step is something to do about a report.
type Step struct {
	// What it is about: a kind of finding, or why something was not compared.
	What string `json:"what"`
	Do   string `json:"do"`
}

// Next says what to do about a report, the gravest first.
func Next(r *consistency.Report) []Step {
	steps := []Step{}
	for _, k := range consistency.Kinds {
		if r.Counts[k] > 0 && (k != consistency.Duplicated || r.Drifts(k)) {
			steps = append(steps, Step{string(k), Advice(k)})
		}
	}
	if n := r.Pending(); n > 0 {
		steps = append(steps, Step{
			"not delivered yet",
			"See with sluice status whether the relays run. The next audit compares these entries.",
		})
	}
	for _, why := range r.Incomplete {
		if strings.Contains(why, "Redis went back") {
			steps = append(steps, Step{
				"Redis went back",
				"Look for a failover, a restart with loss or a restored backup. Orphaned records are what " +
					"it has lost; sluice status shows halted shards.",
			})
			break
		}
	}
	return steps
}
