package consistency

import (
	"fmt"
)

// removed reports whether an entry that is not in the stream can be one that Redis has trimmed or
// deleted.
func (st *streamState) removed(id EntryID) bool {
	if st.counted && st.last.Less(id) {
		return false
	}
	return st.first.IsZero() || id.Less(st.first) || !st.maxDeleted.Less(id)
}

// judgeOrphans decides about the records of a tile whose entries are not in Redis. removed is how
// many entries of the tile are known from their records alone, if some were removed while it was
// compared.
func judgeOrphans(shard shardRun, m *mismatch) (next shardRun, findings []Finding, removed int64) {
	counted, gone := map[EntryID]bool{}, map[EntryID]bool{}
	for i := range m.look.orphans {
		f := &m.look.orphans[i]
		switch {
		case m.look.gone > 0 && m.now.removed(f.id):
			gone[f.id] = true
		case m.suspects[f.id]:
			why := neverAdded(m.now, f.id)
			if why != "" {
				findings = append(findings, f.finding(Orphaned, shard.number, why))
				continue
			}
			if !counted[f.id] {
				counted[f.id] = true
				shard.point.Removed++
			}
			shard.point.leaveUndecided(shard, m.now, f)
		}
	}
	// Which of these were removed before the tile was counted, and which since, cannot be told
	// apart. The number can: look.gone were removed since, and are counted as present.
	if len(m.look.orphans) > 0 && m.look.gone > 0 {
		removed = int64(len(gone))
		shard.point.Removed += removed - m.look.gone
	}
	return shard, findings, removed
}

// neverAdded says how a stream shows that it never had an entry; empty if it does not. What Redis
// has removed in good order, trimmed or deleted, may have been there.
func neverAdded(now streamState, id EntryID) string {
	trimmed := now.first.IsZero() || id.Less(now.first)
	switch {
	case now.counted && now.last.Less(id):
		return fmt.Sprintf("Redis has no such entry, and its last one is %s", now.last)
	case now.counted && !trimmed && now.maxDeleted.Less(id):
		return "Redis has no such entry, has older ones, and has deleted none so new: " +
			"its history was replaced by an earlier one"
	}
	return ""
}

// removedBeforeAudit is the detail about a record whose entry is gone in good order.
const removedBeforeAudit = "the entry was trimmed or deleted before it was audited; its record " +
	"is there"

// leaveUndecided leaves a record whose entry is gone to the counters, unless the entry is before
// the range that the audit covers.
func (p *shardPoint) leaveUndecided(shard shardRun, now streamState, f *found) {
	if shard.first && (now.first.IsZero() || f.id.Less(now.first)) ||
		len(p.Undecided) >= mostFindings {
		return
	}
	p.Undecided = append(p.Undecided, Finding{
		Kind: Unverifiable, Shard: shard.number, Entry: f.id, Count: 1,
		Topic: f.topic, Partition: f.partition, Offset: f.offset, Detail: removedBeforeAudit,
	})
}

// aboveStream says that Kafka has a record whose entry is above the last one of its stream. The
// record was there before the stream was asked, so the stream has lost the entry. The next run that
// comes to its ID reports it; until then nothing agrees.
func aboveStream(shard shardRun, now streamState) (note string) {
	if !now.exists || !now.last.Less(shard.greatest) {
		return ""
	}
	return fmt.Sprintf("shard %d: Redis went back: its last entry is %s, and Kafka has a record of %s",
		shard.number, now.last, shard.greatest)
}
