package consistency

import "fmt"

// judgeCounters compares what Redis says it has added to a stream with what was found: entries that
// are gone and have no record are found by their number alone. holes: records were out of sight.
func judgeCounters(s shardRun, holes bool) (next shardRun, findings []Finding, notes []string) {
	p := &s.point
	undecided := p.Undecided
	p.Undecided = nil
	if p.Point == s.watermark {
		var late []Finding
		s, late, findings = judgeUndecidedLate(s)
		undecided = append(undecided, late...)
	}
	if s.first && p.BaseAdded < 0 && s.sample.counted && p.Since.Less(s.sample.maxDeleted) {
		notes = append(notes, fmt.Sprintf(
			"shard %d: entries up to %s were deleted by hand before the first audit: "+
				"how many, and whether they had been delivered, cannot be known",
			s.number, s.sample.maxDeleted))
	}
	complete := p.Point == s.watermark && s.watermark == s.sample.last && s.sample.counted &&
		s.sample.exists
	if complete && p.BaseAdded >= 0 {
		added := s.sample.added - p.BaseAdded
		gone := added - p.Present
		switch {
		case gone < p.Removed && p.Removed > 0:
			for i := range undecided {
				undecided[i].Kind = Orphaned
				undecided[i].Detail = fmt.Sprintf(
					"Redis has no such entry; %d records have none in this range, and Redis has removed %d",
					p.Removed, max(0, gone))
			}
		case gone < 0:
			notes = append(notes, fmt.Sprintf(
				"shard %d: Redis says that it has added %d entries since %s, and has %d: its counter was "+
					"changed",
				s.number, added, p.Base, p.Present))
		case gone > p.Removed:
			findings = append(findings, uncounted(s, gone-p.Removed, holes))
		}
	}
	const removed = "entries of this range were trimmed or deleted before they were audited; their " +
		"records are there"
	findings = append(findings, summarise(undecided, removed)...)
	if complete {
		p.Base, p.BaseAdded, p.Present, p.Removed = s.watermark, s.sample.added, 0, 0
	}
	return s, findings, notes
}

// uncounted reports entries that are neither in Redis nor in Kafka.
func uncounted(s shardRun, n int64, holes bool) Finding {
	p := &s.point
	f := Finding{
		Kind: Lost, Shard: s.number, Entry: p.Base, Last: s.watermark, Count: n, Partition: -1,
		Offset: -1,
		Detail: fmt.Sprintf(
			"Redis has added %d entries after %s, has %d of them, and %d more are in Kafka: "+
				"the others were deleted or trimmed before they were delivered",
			s.sample.added-p.BaseAdded, p.Base, p.Present, p.Removed),
	}
	if holes {
		f.Kind = Unverifiable
		f.Detail += ", or their records were removed from Kafka"
	}
	return f
}

// judgeUndecidedLate decides about late records whose entries are gone. If Redis has removed as
// many entries that nothing else explains, they are removed; otherwise the records are second ones.
func judgeUndecidedLate(s shardRun) (next shardRun, removed, second []Finding) {
	p := &s.point
	late := p.UndecidedLate
	p.UndecidedLate = nil
	entries := map[EntryID]bool{}
	for _, f := range late {
		entries[f.Entry] = true
	}
	unexplained := s.sample.added - p.BaseAdded - p.Present - p.Removed
	if p.BaseAdded < 0 || unexplained < int64(len(entries)) {
		return s, nil, late
	}
	p.Removed += int64(len(entries))
	for i := range late {
		late[i].Kind, late[i].Detail = Unverifiable, removedBeforeAudit
	}
	return s, late, nil
}
