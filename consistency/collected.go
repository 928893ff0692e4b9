package consistency

// collected is what a round has read of both sides.
type collected struct {
	shards     []shardRead
	partitions []partitionRead // by their index; those found later have been read up to their from
	nameless   []Finding       // records that name no entry that could exist
	mismatches []mismatch      // the tiles that do not agree
	late       lateSearch      // between the two looks at them
	compaction map[string]string
	overtaken  []overtaken
	audited    []auditedRead // late records of entries that were compared before, by shard
	topics     topicSet
}

// shardRead is what a round has read of a shard: its tiles, with both sides counted, and what a
// digest cannot tell.
type shardRead struct {
	entriesRead
	reached    EntryID // the greatest entry with a record
	repaired   int64
	pending    int64 // entries that are not delivered, and in no tile
	late       []found
	disordered []disordered
}

// partitionRead is what a round has read of a partition, up to stop, and of each shard in it.
type partitionRead struct {
	partitionState
	stop   int64
	shards map[int]seen
}

// seen is what a round has seen of a shard in a partition.
type seen struct {
	expected int64   // entries whose record should be here
	records  int64   // of the round
	min, max EntryID // of all records above the shard's point
	passed   bool    // a record above the round was seen
	beyond   int64   // offset of the first such; -1: none
}

// settled reports whether all that is expected was seen, or cannot come any more because a later
// entry's record is there already.
func (s *seen) settled() bool { return s.passed || s.records >= s.expected }

// partition is what was read of a partition. One that was found in the middle of the round was not
// read at all.
func (c *collected) partition(p *partition) partitionRead {
	if p.index < len(c.partitions) {
		return c.partitions[p.index]
	}
	return partitionRead{partitionState: p.initial, stop: p.initial.from}
}
