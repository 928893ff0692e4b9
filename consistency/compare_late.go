package consistency

// judgeLate decides about records that came when the range of their entry had been compared
// already. repaired counts those that a repair has sent.
func judgeLate(shard shardRun, r *auditedRead) (next shardRun, findings []Finding, repaired int64) {
	for i := range r.records {
		l := &r.records[i]
		var f Finding
		switch {
		case shard.point.isLost(l.id):
			shard.point.regain(l.id)
			switch {
			case l.altered != "":
				f = l.finding(Altered, shard.number, l.altered)
			case l.repaired:
				repaired++
				continue
			default:
				f = l.finding(Late, shard.number, "")
				f.Detail = "was reported as lost, and came after all"
			}
		case l.dead:
			continue // a dead letter that was dropped or written again
		case l.here:
			f = l.finding(Duplicated, shard.number, "the entry was audited before, with its record")
		case r.now.counted && !r.now.first.IsZero() && !l.id.Less(r.now.first) &&
			r.now.maxDeleted.Less(l.id):
			f = l.finding(Orphaned, shard.number,
				"Redis has no such entry, has older ones, and has deleted none so new")
		default:
			f = l.finding(Duplicated, shard.number,
				"the range of the entry was audited before; the entry itself is gone")
			if p := &shard.point; p.BaseAdded >= 0 && p.Base.Less(l.id) &&
				len(p.UndecidedLate) < mostFindings {
				p.UndecidedLate = append(p.UndecidedLate, f)
				continue
			}
		}
		f.ID = l.eventID
		findings = append(findings, f)
	}
	return shard, findings, repaired
}
