package consistency

import "slices"

// outcome is what a round has found out, and with what the next one begins.
type outcome struct {
	next     runState
	findings []Finding
	notes    []string // what could not be compared
	tiles    []comparedTile

	looked      int64 // tiles that were compared entry by entry
	deadLetters int64
	repaired    int64
}

// comparedTile is a tile with the place where it is kept.
type comparedTile struct {
	tile
	shard int
	slot  int64
}

// compare says what a round has found. It depends on its arguments alone and changes none of them:
// it asks nobody, waits for nothing, and knows no time. An error is a reason why the round has to
// be compared again by a later run.
func compare(s settings, before runState, c *collected) (outcome, error) {
	out := outcome{
		next: before.clone(), findings: slices.Clone(c.nameless),
		looked: int64(len(c.mismatches)),
	}
	for i := range c.mismatches {
		m := &c.mismatches[i]
		shard, findings, err := judgeMismatch(s, out.next.shards[m.shard], c, m)
		if err != nil {
			return outcome{}, err
		}
		out.next.shards[m.shard] = shard
		out.findings = append(out.findings, findings...)
		out.deadLetters += m.look.dead
	}
	for i := range c.overtaken {
		out.findings = append(out.findings, c.overtaken[i].finding())
	}
	for i := range out.next.shards {
		shard, findings, repaired := judgeLate(out.next.shards[i], &c.audited[i])
		out.findings = append(out.findings, findings...)
		out.repaired += repaired + c.shards[i].repaired
		shard, tiles, note := nextShard(shard, &c.shards[i])
		out.next.shards[i] = shard
		out.tiles = append(out.tiles, tiles...)
		if note != "" {
			out.notes = append(out.notes, note)
		}
	}
	out.next.partitions = make([]partitionState, len(c.topics.partitions))
	for i, p := range c.topics.partitions {
		out.next.partitions[i] = nextPartition(c.partition(p), c.late.accepted[i])
	}
	return out, nil
}
