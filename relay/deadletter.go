package relay

import (
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/outbox"
)

// deadLetterChunk is the most bytes of one dead-letter record's value: below every broker's default
// for max.message.bytes, since an entry may be here because it is larger than that.
const deadLetterChunk = 512 << 10

// deadLetter is an entry that goes to the dead-letter topic, with the reason.
type deadLetter struct {
	id     outbox.EntryID
	reason Reason
	detail string
	topic  string // where it was to go, if the broker refused it there
}

// deadLetterRecords gives the records that keep an entry with its original bytes: the value is the
// RESP array of its fields as Redis sent it, cut into chunks. The first chunk's key is
// <outbox>/<shard>/<entry ID>, the others have #<n> after it. A tombstone for each key drops the
// entry from the compacted topic.
func deadLetterRecords(topic, prefix string, fields []byte, d deadLetter,
	wanted string,
) []*kgo.Record {
	ref := prefix + d.id.String()
	chunks := max(1, (len(fields)+deadLetterChunk-1)/deadLetterChunk)
	headers := []kgo.RecordHeader{
		{Key: "sluice-entry", Value: []byte(ref)},
		{Key: "sluice-reason", Value: []byte(d.reason)},
		{Key: "sluice-detail", Value: []byte(d.detail)},
	}
	if wanted != "" {
		headers = append(headers, kgo.RecordHeader{Key: "sluice-topic", Value: []byte(wanted)})
	}
	if chunks > 1 {
		headers = append(headers, kgo.RecordHeader{
			Key:   "sluice-chunks",
			Value: strconv.AppendInt(nil, int64(chunks), 10),
		})
	}
	records := make([]*kgo.Record, chunks)
	for i := range records {
		key := ref
		if i > 0 {
			key += "#" + strconv.Itoa(i)
		}
		records[i] = &kgo.Record{
			Topic: topic, Key: []byte(key), Headers: headers,
			Value: fields[min(i*deadLetterChunk, len(fields)):min((i+1)*deadLetterChunk, len(fields))],
		}
	}
	return records
}
