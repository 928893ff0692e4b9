package consistency

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Format says what the records of the outbox should look like.
type Format string

// The formats, as the configuration names them.
const (
	Raw                   Format = "raw"
	CloudEventsBinary     Format = "cloudevents-binary"
	CloudEventsStructured Format = "cloudevents-structured"
)

// image is an event as it is, or should be, in Kafka.
type image struct {
	shard     int
	id        EntryID
	topic     string
	partition int32
	key       []byte
	value     []byte
	null      bool     // a Kafka null, not an empty value
	headers   []header // in their order; without those that join and mark
}

// shape says how an event becomes a record. It belongs to one goroutine.
type shape struct {
	format     Format
	source     []byte
	tombstones bool
}

// expect fills im, but for topic and partition, from e.
func (s *shape) expect(im *image, e *entry) {
	im.id, im.key, im.value, im.null = e.id, e.recordKey(), e.payload, false
	im.headers = im.headers[:0]
	add := func(name string, value []byte) { im.headers = append(im.headers, header{name, value}) }
	switch s.format {
	case CloudEventsBinary:
		add("ce_specversion", []byte("1.0"))
		add("ce_id", e.eventID)
		add("ce_source", s.source)
		add("ce_type", e.eventType)
		add("ce_subject", e.aggregateID)
		add("ce_time", eventTime(e.timeMS))
		add("ce_aggregatetype", e.aggregateType)
		if len(e.contentType) > 0 {
			add("content-type", e.contentType)
		}
	case CloudEventsStructured:
		add("content-type", []byte("application/cloudevents+json; charset=UTF-8"))
		im.value = s.structured(e)
	default:
		add("id", e.eventID)
		add("type", e.eventType)
		if len(e.contentType) > 0 {
			add("content-type", e.contentType)
		}
	}
	im.headers = append(im.headers, e.headers...)
	if s.tombstones && len(e.payload) == 0 {
		im.value, im.null = nil, true
	}
}

func eventTime(ms uint64) []byte {
	const end = 253402300799999 // RFC 3339 ends with the year 9999
	return []byte(time.UnixMilli(int64(min(ms, end))).UTC().Format("2006-01-02T15:04:05.000Z07:00"))
}

// attribute is one member of a structured event. Structured events are compared by their members:
// JSON leaves order, white space and escapes to whoever writes it.
type attribute struct{ name, value string }

// The two ways in which data can be in a structured event, as names of attributes that no event can
// have.
const (
	dataJSON   = "\x00data"
	dataBase64 = "\x00data_base64"
)

func canonical(attributes []attribute) []byte {
	slices.SortFunc(attributes, func(a, b attribute) int { return strings.Compare(a.name, b.name) })
	var out []byte
	for _, a := range attributes {
		out = fmt.Appendf(out, "%d:%s=%d:%s;", len(a.name), a.name, len(a.value), a.value)
	}
	return out
}

// structured is the canonical form of the event that the CloudEvents JSON format asks for: JSON
// payloads are data, text as a string, everything else in base 64.
func (s *shape) structured(e *entry) []byte {
	attributes := []attribute{
		{"specversion", "1.0"},
		{"id", string(e.eventID)},
		{"source", string(s.source)},
		{"type", string(e.eventType)},
		{"subject", string(e.aggregateID)},
		{"time", string(eventTime(e.timeMS))},
		{"aggregatetype", string(e.aggregateType)},
	}
	if len(e.contentType) > 0 {
		attributes = append(attributes, attribute{"datacontenttype", string(e.contentType)})
	}
	if len(e.payload) > 0 {
		attributes = append(attributes, structuredData(string(e.contentType), e.payload))
	}
	for i := range attributes {
		// JSON has no other way to write what is not UTF-8.
		if attributes[i].name != dataBase64 {
			attributes[i].value = strings.ToValidUTF8(attributes[i].value, "\uFFFD")
		}
	}
	return canonical(attributes)
}

func structuredData(contentType string, payload []byte) attribute {
	media, _, _ := mime.ParseMediaType(contentType)
	if media == "" || media == "application/json" || strings.HasSuffix(media, "+json") {
		if text, ok := canonicalJSON(payload); ok {
			return attribute{dataJSON, text}
		}
	} else if strings.HasPrefix(media, "text/") && utf8.Valid(payload) {
		if text, err := json.Marshal(string(payload)); err == nil {
			return attribute{dataJSON, string(text)}
		}
	}
	return attribute{dataBase64, string(payload)}
}

func canonicalJSON(b []byte) (string, bool) {
	if !json.Valid(b) {
		return "", false
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber() // numbers keep their digits
	var v any
	if err := d.Decode(&v); err != nil {
		return "", false
	}
	text, err := json.Marshal(v)
	return string(text), err == nil
}

// readStructured is the canonical form of a structured event as a record has it. A value that
// is none is returned as it is, and so equals no event.
func readStructured(value []byte) []byte {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(value, &members); err != nil {
		return value
	}
	attributes := make([]attribute, 0, len(members))
	for name, raw := range members {
		if name == "data" {
			text, ok := canonicalJSON(raw)
			if !ok {
				return value
			}
			attributes = append(attributes, attribute{dataJSON, text})
			continue
		}
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return value
		}
		if name == "data_base64" {
			data, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				return value
			}
			name, text = dataBase64, string(data)
		}
		attributes = append(attributes, attribute{name, text})
	}
	return canonical(attributes)
}
