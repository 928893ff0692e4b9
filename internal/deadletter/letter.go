package deadletter

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/outbox"
)

// Letter is a dead-lettered entry without its payload.
type Letter struct {
	Outbox string         `json:"outbox"`
	Shard  int            `json:"shard"`
	Entry  outbox.EntryID `json:"entry"`
	Reason string         `json:"reason"`
	Detail string         `json:"detail,omitempty"`
	// Topic is where it was to go, if that was known.
	Topic string `json:"topic,omitempty"`
	// At is when it was dead-lettered, by the relay's clock.
	At time.Time `json:"at"`
	// Bytes of the entry as it stood in Redis.
	Bytes int `json:"bytes"`
	// EventID, AggregateType and Type are clipped and empty where the entry does not have them.
	EventID       string `json:"event_id,omitempty"`
	AggregateType string `json:"aggregate_type,omitempty"`
	Type          string `json:"type,omitempty"`
	// Missing counts chunks that are not in the topic. Such a letter can only be dropped.
	Missing int `json:"missing_chunks,omitempty"`

	chunks map[int]place
	wanted int
}

// place is where a chunk is. Its tombstone must go to the same partition.
type place struct {
	partition int32
	offset    int64
	bytes     int
}

// Ref names the letter on the command line: <shard>/<entry ID>.
func (l *Letter) Ref() string { return strconv.Itoa(l.Shard) + "/" + l.Entry.String() }

// key is the record key of a chunk.
func (l *Letter) key(chunk int) []byte {
	key := l.Outbox + "/" + l.Ref()
	if chunk > 0 {
		key += "#" + strconv.Itoa(chunk)
	}
	return []byte(key)
}

type ref struct {
	outbox string
	shard  int
	entry  outbox.EntryID
}

// parseKey is the inverse of key.
func parseKey(key []byte) (r ref, chunk int, ok bool) {
	text, number, chunked := strings.Cut(string(key), "#")
	if chunked {
		var err error
		if chunk, err = strconv.Atoi(number); err != nil || chunk < 1 {
			return r, 0, false
		}
	}
	parts := strings.Split(text, "/")
	if len(parts) != 3 {
		return r, 0, false
	}
	shard, err := strconv.Atoi(parts[1])
	entry, err2 := outbox.ParseEntryID(parts[2])
	if err != nil || err2 != nil || shard < 0 || entry.String() != parts[2] {
		return r, 0, false
	}
	return ref{parts[0], shard, entry}, chunk, true
}

// Index collects letters from the records of a topic, in the order of each partition.
type Index struct {
	outbox  string
	letters map[ref]*Letter
	// Foreign counts records that are no dead letters of Sluice's format.
	Foreign int
}

func newIndex(outboxName string) *Index {
	return &Index{outbox: outboxName, letters: map[ref]*Letter{}}
}

// add takes one record: the latest of a key counts, and none is left after a tombstone.
func (x *Index) add(r *kgo.Record) {
	id, chunk, ok := parseKey(r.Key)
	if !ok {
		x.Foreign++
		return
	}
	if id.outbox != x.outbox {
		return
	}
	l := x.letters[id]
	if r.Value == nil {
		if l != nil {
			delete(l.chunks, chunk)
			if len(l.chunks) == 0 {
				delete(x.letters, id)
			}
		}
		return
	}
	if l == nil {
		l = &Letter{
			Outbox: id.outbox, Shard: id.shard, Entry: id.entry, chunks: map[int]place{},
			wanted: 1,
		}
		x.letters[id] = l
	}
	l.chunks[chunk] = place{r.Partition, r.Offset, len(r.Value)}
	l.At = r.Timestamp.UTC()
	for _, h := range r.Headers {
		switch value := string(h.Value); h.Key {
		case "sluice-reason":
			l.Reason = value
		case "sluice-detail":
			l.Detail = value
		case "sluice-topic":
			l.Topic = value
		case "sluice-chunks":
			if n, err := strconv.Atoi(value); err == nil && n > 0 {
				l.wanted = n
			}
		}
	}
	if chunk == 0 {
		// the beginning of a chunked one; nothing of an undecodable one
		fields, _ := decodeFields(r.Value)
		l.EventID, l.AggregateType, l.Type = clip(fields, outbox.FieldID),
			clip(fields, outbox.FieldAggregateType), clip(fields, outbox.FieldType)
	}
}

// clip keeps a field short and printable enough for a list.
func clip(fields []Field, name string) string {
	v, _ := get(fields, name)
	const most = 80
	text := string(v[:min(len(v), most)])
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '.'
		}
		return r
	}, strings.ToValidUTF8(text, "."))
}

// Letters gives what was collected, by shard and entry.
func (x *Index) Letters() []*Letter {
	all := make([]*Letter, 0, len(x.letters))
	for _, l := range x.letters {
		l.Bytes, l.Missing = 0, 0
		for i := range l.wanted {
			if c, ok := l.chunks[i]; ok {
				l.Bytes += c.bytes
			} else {
				l.Missing++
			}
		}
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b *Letter) int {
		return cmp.Or(cmp.Compare(a.Shard, b.Shard), a.Entry.Compare(b.Entry))
	})
	return all
}

// Selection says which letters are meant. The conditions that are set must all hold.
type Selection struct {
	// <shard>/<entry>, <outbox>/<shard>/<entry>, or an entry ID that is in one shard only
	Refs   []string
	Reason string
	Shard  int // -1: any
}

// Select gives the letters that are meant. A ref that names none, or several, is an error.
func Select(all []*Letter, s Selection) ([]*Letter, error) {
	fits := func(l *Letter) bool {
		return (s.Reason == "" || l.Reason == s.Reason) && (s.Shard < 0 || l.Shard == s.Shard)
	}
	var chosen []*Letter
	if len(s.Refs) == 0 {
		for _, l := range all {
			if fits(l) {
				chosen = append(chosen, l)
			}
		}
		return chosen, nil
	}
	for _, text := range s.Refs {
		var found []*Letter
		for _, l := range all {
			if fits(l) && (text == l.Ref() || text == l.Outbox+"/"+l.Ref() || text == l.Entry.String()) {
				found = append(found, l)
			}
		}
		switch {
		case len(found) == 0:
			return nil, fmt.Errorf("no dead letter %s", text)
		case len(found) > 1:
			return nil, fmt.Errorf("%s is in several shards: name it as %s or %s", text, found[0].Ref(),
				found[1].Ref())
		case !slices.Contains(chosen, found[0]):
			chosen = append(chosen, found[0])
		}
	}
	return chosen, nil
}
