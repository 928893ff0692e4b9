package consistency

import (
	"fmt"
	"slices"
	"time"
)

// Verdict is the result of an audit in one word.
type Verdict string

// The verdicts.
const (
	// Agree: everything in the range was compared, and both sides have the same.
	Agree Verdict = "agree"
	// Drift: at least one finding says that they have not.
	Drift Verdict = "drift"
	// Incomplete: no drift was found, and something could not be compared.
	Incomplete Verdict = "incomplete"
)

// ShardRange is what was compared of a shard: the entries in (After, To].
type ShardRange struct {
	Shard int     `json:"shard"`
	After EntryID `json:"after"`
	To    EntryID `json:"to"`
	// Watermark is the last entry that was to be compared. It is above To where the audit could not
	// come to it.
	Watermark EntryID `json:"watermark"`
	Entries   int64   `json:"entries"`
	Records   int64   `json:"records"`
	// Pending entries at or below the watermark have not been delivered yet.
	Pending int64 `json:"pending"`
	// Since is where the audit of this shard began; everything in (Since, To] has been compared by
	// this run or an earlier one.
	Since EntryID `json:"since"`
	// FromStart: there was nothing before Since, not even something that had been removed.
	FromStart bool `json:"from_start"`
	// Unverified entries of (Since, To] could not be compared, by this run or an earlier one: they
	// were removed before, for example.
	Unverified int64 `json:"unverified"`
	// Missing entries were found lost, by this run or an earlier one, and have no record yet.
	Missing int `json:"missing"`
}

// Tile is the summary of a compared range of a shard, (After, To].
type Tile struct {
	// Run is the number of the run that has compared it.
	Run     int64   `json:"run,omitempty"`
	Shard   int     `json:"shard"`
	After   EntryID `json:"after"`
	To      EntryID `json:"to"`
	Entries int64   `json:"entries"`
	Records int64   `json:"records"`
	// Digest of the entries. Got is that of the records, where the two differ.
	Digest Digest  `json:"digest"`
	Got    *Digest `json:"got,omitempty"`
	// Key is that of the digest.
	Key string `json:"key"`
	// Agrees: decided by the digest. Otherwise the tile was compared entry by entry, which may have
	// found nothing.
	Agrees bool `json:"agrees"`
	// Offsets are the first and the last offset of its records, by topic/partition.
	Offsets map[string][2]int64 `json:"offsets,omitempty"`
	// Merged is how many adjacent tiles this one is made of; 0: it is one.
	Merged int `json:"merged,omitempty"`

	slot int64 // where it is kept
}

// Report is the result of one run.
type Report struct {
	Outbox   string    `json:"outbox"`
	Run      int64     `json:"run"`
	Verdict  Verdict   `json:"verdict"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	// Full: the run started over from what both sides still hold.
	Full bool `json:"full,omitempty"`
	// Outside: the run trusted no position and no earlier audit, and nothing of it is remembered.
	// Run is 0.
	Outside bool `json:"outside,omitempty"`
	// DuplicatesAllowed: duplicates are reported and are no drift.
	DuplicatesAllowed bool         `json:"duplicates_allowed,omitempty"`
	Range             []ShardRange `json:"range"`

	Entries     int64 `json:"entries"`
	Records     int64 `json:"records"`
	DeadLetters int64 `json:"dead_letters"`
	// Repaired records were sent again by a repair, and are what it promised.
	Repaired int64 `json:"repaired,omitempty"`

	Findings []Finding `json:"findings"`
	// Counts has every kind, with how many entries or records its findings are about.
	Counts map[Kind]int64 `json:"counts"`
	// Truncated: there are more findings than the report holds; Counts has them all.
	Truncated bool `json:"truncated,omitempty"`
	// Incomplete says what could not be compared, and why.
	Incomplete []string `json:"incomplete"`

	Tiles int64 `json:"tiles"`
	// TilesLooked were compared entry by entry.
	TilesLooked int64         `json:"tiles_looked_into"`
	unverified  map[int]int64 // by shard
}

// mostFindings bounds the findings that a report holds.
const mostFindings = 10_000

func newReport(outbox string, run int64) *Report {
	r := &Report{
		Outbox: outbox, Run: run, Findings: []Finding{}, Counts: map[Kind]int64{},
		unverified: map[int]int64{}, Incomplete: []string{}, Range: []ShardRange{},
	}
	for _, k := range Kinds {
		r.Counts[k] = 0
	}
	return r
}

func (r *Report) add(findings ...Finding) {
	for _, f := range findings {
		r.Counts[f.Kind] += max(1, f.Count)
		if f.Kind == Unverifiable {
			r.unverified[f.Shard] += max(1, f.Count)
		}
		if len(r.Findings) < mostFindings {
			r.Findings = append(r.Findings, f)
		} else {
			r.Truncated = true
		}
	}
}

// addRound adds what a round has found.
func (r *Report) addRound(out outcome) {
	r.add(out.findings...)
	r.note(out.notes...)
	r.Tiles += int64(len(out.tiles))
	r.TilesLooked += out.looked
	r.DeadLetters += out.deadLetters
	r.Repaired += out.repaired
}

// addRanges adds up to where the run has come, and what it has found undelivered or late by that.
// It returns the shards with the entries of the report that could not be verified.
func (r *Report) addRanges(s settings, shards []shardRun) []shardRun {
	shards = slices.Clone(shards)
	for i := range shards {
		x := &shards[i]
		x.point.Unverified += r.unverified[x.number]
		r.Range = append(r.Range, ShardRange{
			Shard: x.number, After: x.begin, To: x.point.Point, Watermark: x.watermark,
			Entries: x.entries, Records: x.records, Pending: x.pending,
			Since: x.point.Since, FromStart: x.point.FromStart, Unverified: x.point.Unverified,
			Missing: len(x.point.Lost),
		})
		r.Entries += x.entries
		r.Records += x.records
		r.add(lateInSecondWait(s, *x)...)
		if x.pending > 0 {
			r.incomplete("shard %d: %d entries up to the watermark %s have no record, "+
				"and neither has any later one: not delivered yet", x.number, x.pending, x.watermark)
		}
	}
	return shards
}

func (r *Report) incomplete(format string, args ...any) { r.note(fmt.Sprintf(format, args...)) }

// note adds what could not be compared, and why.
func (r *Report) note(reasons ...string) {
	for _, reason := range reasons {
		if !slices.Contains(r.Incomplete, reason) {
			r.Incomplete = append(r.Incomplete, reason)
		}
	}
}

// conclude sets the verdict. Drift outweighs what could not be checked, which is listed all the
// same.
func (r *Report) conclude() {
	sortFindings(r.Findings)
	r.Verdict = Agree
	if r.Counts[Unverifiable] > 0 || len(r.Incomplete) > 0 {
		r.Verdict = Incomplete
	}
	for k, n := range r.Counts {
		if n > 0 && r.Drifts(k) {
			r.Verdict = Drift
		}
	}
}

// Drifts reports whether a finding of a kind is drift in this report.
func (r *Report) Drifts(k Kind) bool {
	return k.Drift() && (k != Duplicated || !r.DuplicatesAllowed)
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
