package relay

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/outbox"
)

// formatter turns decoded entries into records. It belongs to one goroutine.
type formatter struct {
	encoding   encoding
	tombstones bool
	prefix     string // "<outbox>/<shard>/", the beginning of every sluice-entry header
	now        func() time.Time
	// refs is where sluice-entry headers are appended: those of many records share one allocation.
	refs []byte
}

// record fills r from e. headers is where the record's headers are appended; the extended slice is
// returned so that a caller can keep those of many records in one piece of memory.
func (f *formatter) record(ctx context.Context, r *kgo.Record, e *entry, topic string,
	headers []kgo.RecordHeader,
) ([]kgo.RecordHeader, error) {
	start := len(headers)
	value, headers, err := f.encoding.encode(ctx, e, headers)
	if err != nil {
		return headers, err
	}
	headers = append(headers, e.headers...)
	headers = append(headers, kgo.RecordHeader{Key: "sluice-entry", Value: f.ref(e.id)})
	if len(e.payload) == 0 && f.tombstones {
		value = nil
	}
	// r may have been another record.
	*r = kgo.Record{
		Topic: topic, Key: e.partitionKey(), Timestamp: f.timestamp(e),
		Headers: headers[start:len(headers):len(headers)], Value: value,
	}
	return headers, nil
}

// ref is the value of the header sluice-entry.
func (f *formatter) ref(id outbox.EntryID) []byte {
	if n := len(f.prefix) + maxEntryID; cap(f.refs)-len(f.refs) < n {
		f.refs = make([]byte, 0, max(n, refBlock))
	}
	start := len(f.refs)
	f.refs, _ = id.AppendText(append(f.refs, f.prefix...))
	return f.refs[start:len(f.refs):len(f.refs)]
}

const (
	maxEntryID = 41      // two 64-bit numbers and a hyphen
	refBlock   = 8 << 10 // a few hundred headers
)

// timestamp is the event's time, or now if that is earlier. Brokers refuse timestamps from the
// future (message.timestamp.after.max.ms), and an entry with an ID from the future must be
// delivered too.
func (f *formatter) timestamp(e *entry) time.Time {
	now := f.now()
	if e.timeMS > now.UnixMilli() {
		return now
	}
	return time.UnixMilli(e.timeMS)
}

// recordSize is the size of a record batch with this record alone, before compression, which is
// what max.message.bytes is compared with (record batch format 2 of the Kafka protocol).
func recordSize(r *kgo.Record) int {
	// 61 are a batch's header. kgo counts 4 more for the length of an array of batches, and kgo
	// refuses before the broker does.
	const batch = 61 + 4
	body := 1 + 1 + 1 // attributes, timestamp delta 0, offset delta 0
	body += bytesSize(len(r.Key), r.Key == nil) + bytesSize(len(r.Value), r.Value == nil)
	body += kbin.VarintLen(int32(len(r.Headers)))
	for _, h := range r.Headers {
		body += bytesSize(len(h.Key), false) + bytesSize(len(h.Value), h.Value == nil)
	}
	return batch + kbin.VarintLen(int32(body)) + body
}

// bytesSize is the size of n bytes, or of a null, with their length before them.
func bytesSize(n int, null bool) int {
	if null {
		return kbin.VarintLen(-1)
	}
	return kbin.VarintLen(int32(n)) + n
}
