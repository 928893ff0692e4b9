package consistency

import (
	"context"
	"fmt"
)

// excuse says why a missing record proves nothing; empty if it does.
func (e *engine) excuse(ctx context.Context, s *shardRun, f Finding) (string, error) {
	k := e.topics[f.Topic]
	if k == nil || f.Partition < 0 {
		return "", nil
	}
	p := e.partitions[k.first+int(f.Partition)]
	if t := p.tallies[s.number]; p.hole[s.number] && (t == nil || t.min.IsZero() || f.Entry.Less(t.min)) {
		if p.start == 0 {
			return fmt.Sprintf("no record, but topic %s was deleted and made again", k.name), nil
		}
		return fmt.Sprintf("no record, but those before offset %d of topic %s, partition %d were removed by the topic's retention or by hand", p.start, k.name, p.number), nil
	}
	why, err := e.logs.losesRecords(ctx, k.name)
	if err != nil || why == "" {
		return "", err
	}
	return fmt.Sprintf("no record, but topic %s %s", k.name, why), nil
}

// removed reports whether an entry that is not in the stream can be one that Redis has trimmed or deleted.
func (st *streamState) removed(id EntryID) bool {
	if st.counted && st.last.Less(id) {
		return false
	}
	return st.first.IsZero() || id.Less(st.first) || !st.maxDeleted.Less(id)
}

// stranger judges a record whose entry is not in Redis. What Redis has removed in good order (trimmed, deleted) may have been
// there; anything else has never been in this stream.
func (e *engine) stranger(s *shardRun, f *found, now streamState, counted map[EntryID]bool) {
	out := Finding{Kind: Orphaned, Shard: s.number, Entry: f.id, Count: 1, Topic: f.topic, Partition: f.partition, Offset: f.offset}
	trimmed := now.first.IsZero() || f.id.Less(now.first)
	switch {
	case now.counted && now.last.Less(f.id):
		out.Detail = fmt.Sprintf("Redis has no such entry, and its last one is %s", now.last)
	case now.counted && !trimmed && now.maxDeleted.Less(f.id):
		out.Detail = "Redis has no such entry, has older ones, and has deleted none so new: its history was replaced by an earlier one"
	default:
		if !counted[f.id] {
			counted[f.id] = true
			s.Removed++
		}
		if s.first && trimmed {
			return // before the range that this audit covers
		}
		out.Kind, out.Detail = Unverifiable, "the entry was trimmed or deleted before it was audited; its record is there"
		if len(s.Doubtful) < mostFindings {
			s.Doubtful = append(s.Doubtful, out)
		}
		return
	}
	out.Detail = f.evidence(out.Detail)
	e.report.add(out)
}

// above notices a record whose entry is above the last one of its stream. It was there before the stream was asked, so the stream has
// lost it. The next run that comes to its ID reports it; until then nothing agrees.
func (e *engine) above(ctx context.Context) error {
	for _, s := range e.shards {
		if !s.sample.exists || !s.sample.last.Less(s.greatest) {
			continue
		}
		now, err := e.streams.state(ctx, s.number)
		if err != nil {
			return err
		}
		if now.exists && now.last.Less(s.greatest) {
			e.report.incomplete("shard %d: Redis went back: its last entry is %s, and Kafka has a record of %s", s.number, now.last, s.greatest)
		}
	}
	return nil
}

// judgeStragglers judges records that came for entries which were audited before.
func (e *engine) judgeStragglers(ctx context.Context, s *shardRun) error {
	if len(s.stragglers) == 0 {
		return nil
	}
	now, err := e.streams.state(ctx, s.number)
	if err != nil {
		return err
	}
	for i := range s.stragglers {
		f := &s.stragglers[i]
		out := Finding{Shard: s.number, Entry: f.id, Count: 1, Topic: f.topic, Partition: f.partition, Offset: f.offset}
		here, altered := false, ""
		err := e.streams.read(ctx, s.number, f.id.before(), f.id, func(raw rawEntry) error {
			var en entry
			en.decode(raw)
			here, out.ID = true, string(en.eventID)
			altered, err = e.alteration(ctx, s.number, &en, f)
			return err
		})
		if err != nil {
			return err
		}
		switch {
		case s.isLost(f.id):
			s.regain(f.id)
			if altered != "" {
				out.Kind, out.Detail = Altered, f.evidence(altered)
				break
			}
			if f.repaired {
				e.report.Repaired++
				continue
			}
			out.Kind, out.Detail = Late, "was reported as lost, and came after all"
		case f.dead:
			continue // a dead letter that was dropped or written again
		case here:
			out.Kind, out.Detail = Duplicated, f.evidence("the entry was audited before, with its record")
		case now.counted && !now.first.IsZero() && !f.id.Less(now.first) && now.maxDeleted.Less(f.id):
			out.Kind, out.Detail = Orphaned, f.evidence("Redis has no such entry, has older ones, and has deleted none so new")
		default:
			out.Kind, out.Detail = Duplicated, f.evidence("the range of the entry was audited before; the entry itself is gone")
			if s.BaseAdded >= 0 && s.Base.Less(f.id) && len(s.Strays) < mostFindings {
				s.Strays = append(s.Strays, out)
				continue
			}
		}
		e.report.add(out)
	}
	return nil
}

// alteration says what of a record is not what its entry says; empty if all is, or if the record is not where it belongs.
func (e *engine) alteration(ctx context.Context, shard int, en *entry, f *found) (string, error) {
	route, err := newRoute(e.route)
	if err != nil {
		return "", err
	}
	sh := e.shape()
	im := image{shard: shard}
	dead, _, err := e.want(ctx, &sh, route, map[string]*knownTopic{}, &im, en)
	h := hasher{key: e.key}
	if err != nil || dead != "" || f.dead || im.topic != f.topic || h.sum(&im) == f.hash {
		return "", err
	}
	return difference(im.traits(), f.traits, im.partition, f.partition), nil
}
