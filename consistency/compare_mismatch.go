package consistency

import (
	"fmt"
	"maps"
	"slices"
)

// judgeMismatch reports what the last look at a tile has shown, of what the first one has shown
// too.
func judgeMismatch(s settings, shard shardRun, c *collected,
	m *mismatch,
) (shardRun, []Finding, error) {
	gone := m.look.gone
	var findings []Finding
	if len(m.suspects) > 0 {
		if err := tooEarly(shard, c, m); err != nil {
			return shard, nil, err
		}
		for _, f := range m.look.findings {
			if !m.suspects[f.Entry] {
				continue
			}
			if f.Kind == Lost {
				shard, f = judgeLost(s, shard, c, f)
			}
			findings = append(findings, f)
		}
		findings = append(summarised(findings), arrived(s, c, m)...)
		var orphans []Finding
		var removed int64
		shard, orphans, removed = judgeOrphans(shard, m)
		findings = append(findings, orphans...)
		gone = max(gone, removed)
	}
	if m.look.gone > 0 {
		t := c.shards[m.shard].tiles[m.tile]
		findings = append(findings, Finding{
			Kind: Unverifiable, Shard: m.shard, Entry: t.after, Last: t.to, Count: gone, Partition: -1,
			Offset: -1,
			Detail: fmt.Sprintf(
				"the range does not agree, and %d of its entries were removed from Redis before it could be "+
					"looked into", gone),
		})
	}
	return shard, findings, nil
}

// tooEarly says why it cannot be known yet whether an entry is lost.
func tooEarly(shard shardRun, c *collected, m *mismatch) error {
	for _, f := range m.look.findings {
		switch {
		case !m.suspects[f.Entry] || f.Kind != Lost && f.Kind != Misdirected:
		case c.late.heldBack != "":
			return fmt.Errorf("not delivered yet: shard %d: no record of entry %s is visible; %s",
				shard.number, f.Entry, c.late.heldBack)
		case f.Kind == Lost && m.unconfirmed[f.Entry]:
			return fmt.Errorf(
				"not delivered yet: shard %d: entry %s has no record, and is pending in the consumer group: "+
					"a relay has read it and not confirmed it",
				shard.number, f.Entry)
		}
	}
	return nil
}

// judgeLost decides about an entry that has no record.
func judgeLost(s settings, shard shardRun, c *collected, f Finding) (shardRun, Finding) {
	if why := whyMissing(c, shard.number, f); why != "" {
		f.Kind, f.Detail = Unverifiable, why
		return shard, f
	}
	shard.point.lose(f.Entry)
	if !s.outside && !shard.position.IsZero() {
		f.Detail += fmt.Sprintf("; the shard's position is %s", shard.position)
	}
	return shard, f
}

// whyMissing says why a missing record proves nothing; empty if it does.
func whyMissing(c *collected, shard int, f Finding) string {
	p := c.topics.place(f.Topic, f.Partition)
	if p == nil {
		return ""
	}
	read := c.partition(p)
	if first := read.shards[shard].min; read.hole[shard] && (first.IsZero() || f.Entry.Less(first)) {
		if read.start == 0 {
			return fmt.Sprintf("no record, but topic %s was deleted and made again", p.topic.name)
		}
		return fmt.Sprintf(
			"no record, but those before offset %d of topic %s, partition %d were removed by the topic's "+
				"retention or by hand",
			read.start, p.topic.name, p.number)
	}
	if why := c.compaction[p.topic.name]; why != "" {
		return fmt.Sprintf("no record, but topic %s %s", p.topic.name, why)
	}
	return ""
}

// summarised puts what could not be verified for one reason together, if it is much.
func summarised(findings []Finding) []Finding {
	var out []Finding
	byReason := map[string][]Finding{}
	for _, f := range findings {
		if f.Kind == Unverifiable {
			byReason[f.Detail] = append(byReason[f.Detail], f)
		} else {
			out = append(out, f)
		}
	}
	for _, why := range slices.Sorted(maps.Keys(byReason)) {
		out = append(out, summarise(byReason[why], why)...)
	}
	return out
}

// fewUnverifiable are listed one by one; more are one finding with their range, since they usually
// have one reason.
const fewUnverifiable = 100

func summarise(findings []Finding, detail string) []Finding {
	if len(findings) <= fewUnverifiable || findings[0].Kind != Unverifiable {
		return findings
	}
	one := findings[0]
	one.Topic, one.Partition, one.Offset = "", -1, -1
	one.Last, one.Count = one.Entry, int64(len(findings))
	for _, f := range findings {
		one.Entry, one.Last = minID(one.Entry, f.Entry), maxID(one.Last, f.Entry)
	}
	one.Detail = detail
	return []Finding{one}
}

// arrived reports the entries as late that had no record at the first look and have one now.
func arrived(s settings, c *collected, m *mismatch) []Finding {
	missing := map[EntryID]bool{}
	for _, f := range m.look.findings {
		if f.Kind == Lost {
			missing[f.Entry] = true
		}
	}
	var out []Finding
	for _, id := range slices.SortedFunc(maps.Keys(m.unseen), EntryID.Compare) {
		records := c.late.records[reference{m.shard, id}]
		// What was there at the first look, after the place where the round had stopped, is not
		// late.
		if missing[id] || len(records) == 0 || slices.ContainsFunc(records, c.wasThere) {
			continue
		}
		r := records[0]
		out = append(out, Finding{
			Kind: Late, Shard: m.shard, Entry: id, Count: 1, Topic: r.topic, Partition: r.partition,
			Offset: r.offset,
			Detail: fmt.Sprintf(
				"not there %s after it was the last entry of its shard, there at the second look", s.settle),
		})
	}
	return out
}

// wasThere reports whether a record was committed when the run sampled the ends of the partitions.
func (c *collected) wasThere(f found) bool {
	p := c.topics.place(f.topic, f.partition)
	return p != nil && f.offset < c.partition(p).end
}
