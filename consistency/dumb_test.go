package consistency

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-outbox/sluice/outbox"
)

// The dumb checker: everything in maps, one loop a rule, nothing shared with the engine but the words.

type dumbKey struct {
	kind      Kind
	shard     int
	entry     EntryID
	topic     string
	partition int32
	offset    int64
}

func (k dumbKey) String() string {
	return fmt.Sprintf("%s shard %d entry %s at %s/%d/%d", k.kind, k.shard, k.entry, k.topic, k.partition, k.offset)
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

// dumb gives the findings as a set, and the entries of each shard that are only known by their number.
func dumb(streams *memoryStreams, logs *memoryLogs, deadLetters string) (map[dumbKey]bool, map[int]int64) {
	out := map[dumbKey]bool{}
	byEntry := map[string][]dumbRecord{}
	var all []dumbRecord
	for name, partitions := range logs.byName {
		for number, p := range partitions {
			for _, r := range p.records {
				if r == nil {
					continue
				}
				d := dumbRecord{topic: name, partition: int32(number), offset: r.Offset, key: string(r.Key), dead: name == deadLetters}
				var content []string
				for _, h := range r.Headers {
					if h.Key == "sluice-entry" {
						parts := strings.Split(string(h.Value), "/")
						d.shard, _ = strconv.Atoi(parts[1])
						d.entry, _ = ParseEntryID(parts[2])
					} else {
						content = append(content, h.Key+"="+string(h.Value))
					}
				}
				d.content = fmt.Sprintf("%q %q %q", r.Key, r.Value, content)
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
				content = fmt.Sprintf("%q %q %q", f["aggregateid"], f["payload"], []string{"id=" + f["id"], "type=" + f["type"], "tenant=x"})
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
				return cmp.Or(class(a)-class(b), strings.Compare(a.topic, b.topic), int(a.partition-b.partition), int(a.offset-b.offset))
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
				out[dumbKey{Lost, shard, e.id, topic, partition, -1}] = true
			}
		}
	}
	// Order: a record that counts, behind one of a later entry of its shard with its key.
	slices.SortFunc(all, func(a, b dumbRecord) int {
		return cmp.Or(strings.Compare(a.topic, b.topic), int(a.partition-b.partition), int(a.offset-b.offset))
	})
	for i, d := range all {
		if !first[place(d)] || d.dead {
			continue
		}
		for _, before := range all[:i] {
			if before.topic == d.topic && before.partition == d.partition && before.shard == d.shard && before.key == d.key && d.entry.Less(before.entry) {
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
