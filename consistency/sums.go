package consistency

import (
	"fmt"
)

// addUp compares what Redis says it has added to each stream with what was found: entries that are gone and have no record are found
// by their number alone.
func (e *engine) addUp() error {
	for _, s := range e.shards {
		doubtful := s.Doubtful
		s.Doubtful = nil
		if s.Point == s.watermark {
			doubtful = append(doubtful, e.strays(s)...)
		}
		if s.first && s.BaseAdded < 0 && s.sample.counted && s.Since.Less(s.sample.maxDeleted) {
			e.report.incomplete("shard %d: entries up to %s were deleted by hand before the first audit: how many, and whether they had been delivered, cannot be known", s.number, s.sample.maxDeleted)
		}
		complete := s.Point == s.watermark && s.watermark == s.sample.last && s.sample.counted && s.sample.exists
		if complete && s.BaseAdded >= 0 {
			gone := s.sample.added - s.BaseAdded - s.Present
			switch {
			case gone < s.Removed && s.Removed > 0:
				for i := range doubtful {
					doubtful[i].Kind = Orphaned
					doubtful[i].Detail = fmt.Sprintf("Redis has no such entry; %d records have none in this range, and Redis has removed %d", s.Removed, max(0, gone))
				}
			case gone < 0:
				e.report.incomplete("shard %d: Redis says that it has added %d entries since %s, and has %d: its counter was changed", s.number, s.sample.added-s.BaseAdded, s.Base, s.Present)
			case gone > s.Removed:
				f := Finding{
					Kind: Lost, Shard: s.number, Entry: s.Base, Last: s.watermark, Count: gone - s.Removed, Partition: -1, Offset: -1,
					Detail: fmt.Sprintf("Redis has added %d entries after %s, has %d of them, and %d more are in Kafka: the others were deleted or trimmed before they were delivered", s.sample.added-s.BaseAdded, s.Base, s.Present, s.Removed),
				}
				if e.holes() {
					f.Kind = Unverifiable
					f.Detail += ", or their records were removed from Kafka"
				}
				e.report.add(f)
			}
		}
		e.report.add(summarise(doubtful, "entries of this range were trimmed or deleted before they were audited; their records are there")...)
		if complete {
			s.Base, s.BaseAdded, s.Present, s.Removed = s.watermark, s.sample.added, 0, 0
		}
	}
	return nil
}

// strays decides on the records that came late for entries that are gone, and reports those that are second ones.
func (e *engine) strays(s *shardRun) (removed []Finding) {
	strays := s.Strays
	s.Strays = nil
	entries := map[EntryID]bool{}
	for _, f := range strays {
		entries[f.Entry] = true
	}
	unexplained := s.sample.added - s.BaseAdded - s.Present - s.Removed
	if s.BaseAdded < 0 || unexplained < int64(len(entries)) {
		e.report.add(strays...)
		return nil
	}
	s.Removed += int64(len(entries))
	for i := range strays {
		strays[i].Kind, strays[i].Detail = Unverifiable, "the entry was trimmed or deleted before it was audited; its record is there"
	}
	return strays
}

func (e *engine) holes() bool {
	for _, k := range e.topics {
		if k.problem != "" && !k.dead {
			return true
		}
	}
	return e.holed
}

// fewDoubtful are listed one by one; more are one finding with their range, since they usually have one reason.
const fewDoubtful = 100

func summarise(doubtful []Finding, detail string) []Finding {
	if len(doubtful) <= fewDoubtful || doubtful[0].Kind != Unverifiable {
		return doubtful
	}
	one := doubtful[0]
	one.Topic, one.Partition, one.Offset = "", -1, -1
	one.Last, one.Count = one.Entry, int64(len(doubtful))
	for _, f := range doubtful {
		one.Entry, one.Last = minID(one.Entry, f.Entry), maxID(one.Last, f.Entry)
	}
	one.Detail = detail
	return []Finding{one}
}
