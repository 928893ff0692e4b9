package relay

import (
	"bytes"
	"encoding/json"
	"mime"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sluice-outbox/sluice/outbox"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kgo"
)

// formatter turns decoded entries into records. It belongs to one goroutine.
type formatter struct {
	format     Format
	source     string
	tombstones bool
	prefix     string // "<outbox>/<shard>/", the beginning of every sluice-entry header
	now        func() time.Time
	// refs is where sluice-entry headers are appended, so that those of many records share one piece of memory.
	refs []byte
}

var (
	ceVersion        = []byte("1.0")
	ceStructuredType = []byte("application/cloudevents+json; charset=UTF-8")
)

// record fills r from e. headers is where the record's headers are appended; the extended slice is
// returned so that a caller can keep those of many records in one piece of memory.
func (f *formatter) record(r *kgo.Record, e *entry, topic string, headers []kgo.RecordHeader) []kgo.RecordHeader {
	*r = kgo.Record{Topic: topic, Key: e.partitionKey(), Timestamp: f.timestamp(e)} // r may have been another record
	start := len(headers)
	add := func(key string, value []byte) {
		headers = append(headers, kgo.RecordHeader{Key: key, Value: value})
	}
	switch f.format {
	case Raw:
		add("id", e.eventID)
		add("type", e.eventType)
		if len(e.contentType) > 0 {
			add("content-type", e.contentType)
		}
	case CloudEventsBinary:
		add("ce_specversion", ceVersion)
		add("ce_id", e.eventID)
		add("ce_source", []byte(f.source))
		add("ce_type", e.eventType)
		add("ce_subject", e.aggregateID)
		add("ce_time", []byte(eventTime(e)))
		add("ce_aggregatetype", e.aggregateType)
		if len(e.contentType) > 0 {
			add("content-type", e.contentType)
		}
	case CloudEventsStructured:
		add("content-type", ceStructuredType)
	}
	headers = append(headers, e.headers...)
	add("sluice-entry", f.ref(e.id))

	switch {
	case len(e.payload) == 0 && f.tombstones:
		r.Value = nil
	case f.format == CloudEventsStructured:
		r.Value = f.structured(e)
	case e.payload == nil:
		r.Value = []byte{} // nil would be a tombstone
	default:
		r.Value = e.payload
	}
	r.Headers = headers[start:len(headers):len(headers)]
	return headers
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

// timestamp is the event's time, but not later than now: brokers refuse timestamps from the future
// (message.timestamp.after.max.ms), and an entry with an ID from the future is to be delivered all the same.
func (f *formatter) timestamp(e *entry) time.Time {
	now := f.now()
	if e.timeMS > now.UnixMilli() {
		return now
	}
	return time.UnixMilli(e.timeMS)
}

func eventTime(e *entry) string {
	const year9999 = 253402300799999 // what RFC 3339 can say
	return time.UnixMilli(min(e.timeMS, year9999)).UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

// structured is the event in the CloudEvents JSON format 1.0. Payloads of a JSON content type, or of none, that are
// valid JSON stand as data; text as a string; everything else as data_base64.
func (f *formatter) structured(e *entry) []byte {
	event := struct {
		SpecVersion     string          `json:"specversion"`
		ID              string          `json:"id"`
		Source          string          `json:"source"`
		Type            string          `json:"type"`
		Subject         string          `json:"subject"`
		Time            string          `json:"time"`
		DataContentType string          `json:"datacontenttype,omitempty"`
		AggregateType   string          `json:"aggregatetype"`
		Data            json.RawMessage `json:"data,omitempty"`
		DataBase64      []byte          `json:"data_base64,omitempty"`
	}{
		SpecVersion: "1.0", ID: string(e.eventID), Source: f.source, Type: string(e.eventType), Subject: string(e.aggregateID),
		Time: eventTime(e), DataContentType: string(e.contentType), AggregateType: string(e.aggregateType),
	}
	if len(e.payload) > 0 {
		media, _, _ := mime.ParseMediaType(string(e.contentType))
		switch {
		case !utf8.Valid(e.payload):
			event.DataBase64 = e.payload
		case (media == "" || media == "application/json" || strings.HasSuffix(media, "+json")) && json.Valid(e.payload):
			event.Data = e.payload
		case strings.HasPrefix(media, "text/"):
			event.Data, _ = json.Marshal(string(e.payload)) // a string always marshals
		default:
			event.DataBase64 = e.payload
		}
	}
	var value bytes.Buffer
	encoder := json.NewEncoder(&value)
	encoder.SetEscapeHTML(false) // the payload is not ours to rewrite
	if err := encoder.Encode(event); err != nil {
		// Only Data could fail, and it was found valid.
		panic("relay: cannot encode a CloudEvent: " + err.Error())
	}
	return bytes.TrimSuffix(value.Bytes(), []byte("\n"))
}

// recordSize is the size of a record batch with this record alone, before compression, which is what
// max.message.bytes is compared with (record batch format 2 of the Kafka protocol).
func recordSize(r *kgo.Record) int {
	// 61 are a batch's header. kgo counts 4 more for the length of an array of batches, and it is who refuses first.
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
