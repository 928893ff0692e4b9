package consistency

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-outbox/sluice/outbox"
)

// The dumb checker: everything in maps, one loop a rule, nothing shared with the audit but the
// words.

type dumbKey struct {
	kind      Kind
	shard     int
	entry     EntryID
	topic     string
	partition int32
	offset    int64
}

func (k dumbKey) String() string {
	return fmt.Sprintf("%s shard %d entry %s at %s/%d/%d", k.kind, k.shard, k.entry, k.topic,
		k.partition, k.offset)
}

type dumbRecord struct {
	shard     int
	entry     EntryID
	topic     string
	partition int32
	offset    int64
	key       string
	content   string
	dead      bool
}

// dumb gives the findings as a set, and the entries of each shard that are only known by their
// number.
func dumb(streams *memoryStreams, logs *memoryLogs,
	deadLetters string,
) (map[dumbKey]bool, map[int]int64) {
	out := map[dumbKey]bool{}
	byEntry := map[string][]dumbRecord{}
	var all []dumbRecord
	for name, partitions := range logs.byName {
		for number, p := range partitions {
			for _, r := range p.records {
				if r == nil {
					continue
				}
				d := dumbRecord{
					topic: name, partition: int32(number), offset: r.Offset, key: string(r.Key),
					dead: name == deadLetters,
				}
				var content []string
				for _, h := range r.Headers {
					if h.Key == "sluice-entry" {
						parts := strings.Split(string(h.Value), "/")
						d.shard, _ = strconv.Atoi(parts[1])
						d.entry, _ = outbox.ParseEntryID(parts[2])
					} else {
						content = append(content, h.Key+"="+string(h.Value))
					}
				}
				d.content = fmt.Sprintf("%q %q %t %q", r.Key, r.Value, r.Value == nil, content)
				all = append(all, d)
				at := fmt.Sprint(d.shard, d.entry)
				byEntry[at] = append(byEntry[at], d)
			}
		}
	}
	first := map[string]bool{} // places of the records that count
	place := func(d dumbRecord) string { return fmt.Sprint(d.topic, "/", d.partition, "/", d.offset) }
	known := map[string]bool{}
	for shard := range streams.shards {
		for _, e := range streams.shards[shard].entries {
			at := fmt.Sprint(shard, e.id)
			known[at] = true
			f := map[string]string{}
			for i := 0; i+1 < len(e.fields); i += 2 {
				f[string(e.fields[i])] = string(e.fields[i+1])
			}
			topic, partition, content := "", int32(-1), ""
			event := f["id"] != ""
			if event {
				topic = "t." + f["aggregatetype"]
				partition = int32(outbox.Partition([]byte(f["aggregateid"]), len(logs.byName[topic])))
				content = fmt.Sprintf("%q %q false %q", f["aggregateid"], f["payload"],
					[]string{"id=" + f["id"], "type=" + f["type"], "tenant=x"})
			}
			records := byEntry[at]
			class := func(d dumbRecord) int {
				if d.dead {
					return 0
				}
				if event && d.topic == topic && d.partition == partition {
					return 1
				}
				if event && d.topic == topic {
					return 2
				}
				return 3
			}
			slices.SortFunc(records, func(a, b dumbRecord) int {
				return cmp.Or(class(a)-class(b), strings.Compare(a.topic, b.topic),
					int(a.partition-b.partition), int(a.offset-b.offset))
			})
			for i, d := range records {
				k := dumbKey{"", shard, e.id, d.topic, d.partition, d.offset}
				switch {
				case d.dead:
					continue
				case i > 0:
					k.kind = Duplicated
				case class(d) == 3:
					k.kind = Misdirected
				case class(d) == 2 || d.content != content:
					k.kind = Altered
				}
				if i == 0 && class(d) != 3 {
					first[place(d)] = true
				}
				if k.kind != "" {
					out[k] = true
				}
			}
			if len(records) == 0 {
				k := dumbKey{Lost, shard, e.id, topic, partition, -1}
				if event {
					k.kind = missing(logs.byName[topic][partition], topic, partition, all, shard, e.id)
				}
				out[k] = true
			}
		}
	}
	// Order: a record that counts, after one of a later entry of its shard with its key.
	slices.SortFunc(all, func(a, b dumbRecord) int {
		return cmp.Or(strings.Compare(a.topic, b.topic), int(a.partition-b.partition),
			int(a.offset-b.offset))
	})
	for i, d := range all {
		if !first[place(d)] || d.dead {
			continue
		}
		for _, before := range all[:i] {
			if before.topic == d.topic && before.partition == d.partition && before.shard == d.shard &&
				before.key == d.key && d.entry.Less(before.entry) {
				out[dumbKey{Reordered, d.shard, d.entry, d.topic, d.partition, d.offset}] = true
			}
		}
	}
	// Records of no entry, and entries that are neither here nor there.
	goneWithRecord := map[int]map[EntryID]bool{}
	for _, d := range all {
		s := streams.shards[d.shard]
		if known[fmt.Sprint(d.shard, d.entry)] {
			continue
		}
		k := dumbKey{Orphaned, d.shard, d.entry, d.topic, d.partition, d.offset}
		if !s.maxDeleted.Less(d.entry) {
			k.kind = Unverifiable
			if goneWithRecord[d.shard] == nil {
				goneWithRecord[d.shard] = map[EntryID]bool{}
			}
			goneWithRecord[d.shard][d.entry] = true
		}
		out[k] = true
	}
	gone := map[int]int64{}
	for shard, s := range streams.shards {
		if n := s.added - int64(len(s.entries)) - int64(len(goneWithRecord[shard])); n > 0 {
			gone[shard] = n
		}
	}
	return out, gone
}

// undecided is the kind of an entry without a record that is lost or unverifiable, as it were: its
// record may have been removed, and those that are left of earlier entries may be second ones,
// which tell nothing about the order.
const undecided Kind = "lost or unverifiable"

// missing is the kind of an entry without a record. It is unverifiable if the record may be one
// that its partition no longer has: none of an earlier entry of the shard is left after those.
func missing(p *memoryPartition, topic string, partition int32, all []dumbRecord, shard int,
	id EntryID,
) Kind {
	if p.start == 0 || !p.since[shard].Less(id) {
		return Lost
	}
	for _, d := range all {
		if d.topic == topic && d.partition == partition && d.offset >= p.start && d.shard == shard &&
			p.since[shard].Less(d.entry) && d.entry.Less(id) {
			return undecided
		}
	}
	return Unverifiable
}
