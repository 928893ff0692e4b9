package consistency

import (
	"maps"
	"slices"
	"time"
)

// runState is what a run knows between two rounds. It is a value: a round is given one and returns
// the next one, and a round that fails leaves no trace.
type runState struct {
	shards []shardRun
	// partitions are those of the catalog that a round has read so far, by their index.
	partitions []partitionState
	// sampled is when the ends of the partitions were asked for.
	sampled time.Time
}

// shardRun is what a run knows of a shard. point.Point <= watermark <= sample.last.
type shardRun struct {
	number    int
	point     shardPoint
	sample    streamState // taken when the run began
	watermark EntryID
	position  EntryID // up to where the relay says that it has delivered
	first     bool    // nothing of it was audited before
	done      bool
	begin     EntryID // the point when the run began
	entries   int64
	records   int64
	pending   int64       // entries up to the watermark that have not been delivered
	again     *secondWait // nil: nothing was waited for a second time
	greatest  EntryID     // of all entries of which a record was seen
}

// secondWait is where a shard was when the run began to wait a second time for its delivery.
type secondWait struct {
	point   EntryID
	entries int64 // compared until then
}

// partitionState is how far a run has read a partition: what is to be read is in [from, end). What
// is before counted and belongs to an audited entry has been counted, and so have the offsets in
// accepted. start <= from; from <= counted, but for a partition whose first records were removed.
type partitionState struct {
	bounds
	from, counted int64
	accepted      map[int64]bool
	// hole has the shards whose first records were removed before they could be read, as long as
	// no record of the shard was seen after them.
	hole map[int]bool
}

func (s runState) clone() runState {
	s.shards, s.partitions = slices.Clone(s.shards), slices.Clone(s.partitions)
	for i := range s.shards {
		s.shards[i].point = s.shards[i].point.clone()
	}
	for i := range s.partitions {
		s.partitions[i] = s.partitions[i].clone()
	}
	return s
}

func (p partitionState) clone() partitionState {
	p.accepted, p.hole = maps.Clone(p.accepted), maps.Clone(p.hole)
	return p
}

// open reports whether a shard is left to be compared.
func (s runState) open() bool {
	return slices.ContainsFunc(s.shards, func(s shardRun) bool { return !s.done })
}
