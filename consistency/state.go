package consistency

import (
	"fmt"
	"slices"
)

// state is what an auditor remembers from run to run. It is one record, so that whatever is read is
// consistent: everything at or below each shard's point has been compared, with the records that
// were before each partition's mark. Writing it again from an older run only makes the next run
// compare again what was compared already. The names in JSON are those of version 1.
type state struct {
	V      int          `json:"v"`
	Outbox string       `json:"outbox"`
	Run    int64        `json:"run"`
	Shards []shardPoint `json:"shards"`
	Topics []topicMark  `json:"topics"`
	// Carried are the findings of a run that did not come to its end; the next one reports them.
	Carried []Finding `json:"carried,omitempty"`
}

const stateVersion = 1

// shardPoint is how far a shard was audited: (Since, Point] is compared.
type shardPoint struct {
	Begun bool    `json:"begun"`
	Since EntryID `json:"since"`
	Point EntryID `json:"point"`
	// Anchor is the hash of the entry at Point, empty if there was none: by it a later run notices
	// that Redis went back.
	Anchor string `json:"anchor,omitempty"`

	// Tiles is how many were compared since the audit of the shard began. It says which of those
	// that are kept the next one replaces.
	Tiles int64 `json:"tiles,omitempty"`

	// Base is an entry ID up to which Redis had added BaseAdded entries; -1: not known. Present
	// entries were read since, and Removed ones were found in Kafka alone. When a run comes to an
	// ID whose count Redis told, the three must add up.
	Base      EntryID `json:"base"`
	BaseAdded int64   `json:"base_added"`
	Present   int64   `json:"present"`
	Removed   int64   `json:"removed"`

	// FromStart: nothing had been removed from the stream when its audit began. Unverified entries
	// of (Since, Point] could not be compared.
	FromStart  bool  `json:"from_start,omitempty"`
	Unverified int64 `json:"unverified,omitempty"`

	// Awaited are entries that had not been delivered when an audit came to them.
	Awaited *awaited `json:"awaited,omitempty"`

	// Lost are entries that were reported as lost, so that their records are welcome when they
	// come.
	Lost []EntryID `json:"lost,omitempty"`
	// Undecided are records of entries that are gone. The counters decide at the end of the run, or
	// of the next one if this one is interrupted.
	Undecided []Finding `json:"doubtful,omitempty"`
	// UndecidedLate are late records above Base whose entries are gone: they are second ones, or
	// their entries were gone before. The counters decide.
	UndecidedLate []Finding `json:"strays,omitempty"`
}

// topicMark is how far the partitions of a topic were read. A later run begins at From; what is
// before Counted and belongs to an audited entry has been counted, and so have the offsets in
// Accepted. From <= Counted.
type topicMark struct {
	Name     string          `json:"name"`
	ID       string          `json:"id"`
	From     []int64         `json:"from"`
	Counted  []int64         `json:"counted"`
	Accepted map[int][]int64 `json:"accepted,omitempty"`
	// Hole: by partition, the shards of which no record was seen after those that were gone before
	// they could be read.
	Hole map[int][]int `json:"hole,omitempty"`
	// Unread: the topic was hidden from the run, which has passed its entries as unverifiable.
	// Their records are no second ones.
	Unread bool `json:"unread,omitempty"`
}

func errStateVersion(v int) error {
	return fmt.Errorf(
		"the audit state has version %d, this program knows %d: run the version of sluice that wrote "+
			"it, or audit with --full", v, stateVersion)
}

// mostLost bounds the entries remembered as lost, by shard, and mostAccepted the offsets, by
// partition.
const (
	mostLost     = 10_000
	mostAccepted = 10_000
)

// forRun is the state with which a run over n shards begins.
func (s state) forRun(outbox string, n int, full bool) (state, error) {
	if s.V != 0 && s.V != stateVersion {
		return state{}, errStateVersion(s.V)
	}
	run := s.Run
	if full || len(s.Shards) > n {
		// Fewer shards than before is another outbox of the same name.
		s = state{}
	}
	s.V, s.Outbox, s.Run = stateVersion, outbox, run+1
	s.Shards = slices.Clone(s.Shards)
	for len(s.Shards) < n {
		s.Shards = append(s.Shards, shardPoint{BaseAdded: -1})
	}
	return s, nil
}

// after is the state once a run has come to where now is, with what it has found until then.
func (s state) after(now runState, topics topicSet, found []Finding) state {
	s.Shards = pointsOf(now.shards)
	s.Topics = marksOf(topics, now, s.Topics)
	s.Carried = slices.Clone(found)
	return s
}

func pointsOf(shards []shardRun) []shardPoint {
	points := make([]shardPoint, len(shards))
	for i := range shards {
		points[i] = shards[i].point.clone()
	}
	return points
}

// told is the state after a run that gave up: a report has what it carried.
func (s state) told() state {
	s.Shards = slices.Clone(s.Shards)
	for _, f := range s.Carried {
		if f.Kind == Unverifiable && f.Shard >= 0 && f.Shard < len(s.Shards) {
			s.Shards[f.Shard].Unverified += max(1, f.Count)
		}
	}
	s.Carried = nil
	return s
}

func (p shardPoint) clone() shardPoint {
	p.Lost, p.Undecided, p.UndecidedLate = slices.Clone(p.Lost), slices.Clone(p.Undecided),
		slices.Clone(p.UndecidedLate)
	return p
}

func (p *shardPoint) isLost(id EntryID) bool { return slices.Contains(p.Lost, id) }

func (p *shardPoint) lose(id EntryID) {
	if len(p.Lost) < mostLost && !p.isLost(id) {
		p.Lost = append(p.Lost, id)
	}
}

func (p *shardPoint) regain(id EntryID) {
	p.Lost = slices.DeleteFunc(p.Lost, func(x EntryID) bool { return x == id })
}
