package consistency

import (
	"fmt"
	"strings"
)

// The wire format, version 1, as docs/wire-format.md has it. This package reads it by itself, so
// that a mistake in the relay's reading is found and not repeated.

// entry is a decoded stream entry. Its slices are parts of the reply it came in.
type entry struct {
	id EntryID
	// bad says why the entry is not an event; nothing else is set then.
	bad string

	eventID, aggregateType, aggregateID, eventType, payload []byte
	topic, key, contentType                                 []byte // empty: not set
	headers                                                 []header
	timeMS                                                  uint64
}

type header struct {
	name  string
	value []byte
}

// recordKey is the key of the entry's record.
func (e *entry) recordKey() []byte {
	if len(e.key) > 0 {
		return e.key
	}
	return e.aggregateID
}

// field is the place of a field in a decoder's list.
const (
	fieldID = iota
	fieldAggregateType
	fieldAggregateID
	fieldType
	fieldPayload
	fieldHeaders
	fieldTopic
	fieldKey
	fieldContentType
	fieldTime
	fieldMore
	fieldVersion
	fieldCount
)

var fieldNames = [fieldCount]string{
	"id", "aggregatetype", "aggregateid", "type", "payload", "headers", "topic", "key", "contenttype",
	"time", "more", "v",
}

// required fields are the first ones; those in filled must also not be empty.
const (
	requiredFields = fieldHeaders + 1
	filledFields   = fieldType + 1
)

// decode reads raw into e and uses e's memory for headers again.
func (e *entry) decode(raw rawEntry) {
	headers := e.headers[:0]
	*e = entry{id: raw.id, headers: headers}
	if bad := e.read(raw); bad != "" {
		*e = entry{id: raw.id, headers: headers, bad: bad}
	}
}

func (e *entry) read(raw rawEntry) (bad string) {
	if len(raw.fields)%2 != 0 {
		return "an odd number of names and values"
	}
	var values [fieldCount][]byte
	var has [fieldCount]bool
	for i := 0; i < len(raw.fields); i += 2 {
		name := raw.fields[i]
		// Nearly always the six fields come first and in their order.
		f := i / 2
		if f >= requiredFields || string(name) != fieldNames[f] {
			f = fieldNamed(name)
		}
		switch {
		case f < 0:
			return fmt.Sprintf("unknown field %q", clip(name))
		case has[f]:
			return fmt.Sprintf("field %s occurs twice", fieldNames[f])
		}
		values[f], has[f] = raw.fields[i+1], true
	}
	if has[fieldVersion] && string(values[fieldVersion]) != "1" {
		return fmt.Sprintf("format version %q is not known", clip(values[fieldVersion]))
	}
	for f := range requiredFields {
		if !has[f] {
			return "field " + fieldNames[f] + " is missing"
		}
		if f < filledFields && len(values[f]) == 0 {
			return "field " + fieldNames[f] + " is empty"
		}
	}
	e.timeMS = raw.id.MS
	if has[fieldTime] && (!parseUint(values[fieldTime], &e.timeMS) || e.timeMS > 1<<62) {
		return fmt.Sprintf("field time is %q, want Unix milliseconds", clip(values[fieldTime]))
	}
	var more uint64
	if has[fieldMore] && !parseUint(values[fieldMore], &more) {
		return fmt.Sprintf("field more is %q, want a count", clip(values[fieldMore]))
	}
	e.eventID, e.aggregateType, e.aggregateID = values[fieldID], values[fieldAggregateType],
		values[fieldAggregateID]
	e.eventType, e.payload = values[fieldType], values[fieldPayload]
	e.topic, e.key, e.contentType = values[fieldTopic], values[fieldKey], values[fieldContentType]
	var err error
	if e.headers, err = readHeaders(e.headers, values[fieldHeaders]); err != nil {
		return "field headers: " + err.Error()
	}
	for _, h := range e.headers {
		if reserved(h.name) {
			return fmt.Sprintf("header %q is reserved", clip([]byte(h.name)))
		}
	}
	return ""
}

func fieldNamed(name []byte) int {
	for f, known := range fieldNames {
		if string(name) == known {
			return f
		}
	}
	return -1
}

// reserved names are those of the headers that the relay writes itself.
func reserved(name string) bool {
	return name == "id" || name == "type" || name == "content-type" ||
		strings.HasPrefix(name, "sluice-") || strings.HasPrefix(name, "ce_")
}
