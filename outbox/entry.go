package outbox

import (
	"slices"
	"strconv"
	"unicode/utf8"
)

// The fields of a stream entry, format version 1. The first six are in every entry, in this order;
// the others only where they are set.
const (
	FieldID            = "id"
	FieldAggregateType = "aggregatetype"
	FieldAggregateID   = "aggregateid"
	FieldType          = "type"
	FieldPayload       = "payload"
	FieldHeaders       = "headers"

	FieldTopic       = "topic"
	FieldKey         = "key"
	FieldContentType = "contenttype"
	FieldTime        = "time" // Unix milliseconds, decimal
	FieldMore        = "more" // how many entries of the same EXEC follow, decimal, absent on the last
	FieldVersion     = "v"    // absent means FormatVersion 1
)

// FormatVersion is the version of the entry format that this package writes.
const FormatVersion = 1

// EntryFields is the event as the alternating names and values of a stream entry, ready to follow
// "XADD key *". more is the number of entries of the same transaction that follow this one in the
// stream. It does not check the event, and it does not generate an ID: Writer does both.
func EntryFields(e Event, more int) []any {
	return appendEntry(make([]any, 0, entryCapacity), e, trace{}, more)
}

// entryCapacity holds the six fields and two of the optional ones, beside "XADD key *".
const entryCapacity = 3 + 2*8

func appendEntry(args []any, e Event, t trace, more int) []any {
	payload := e.Payload
	if payload == nil {
		payload = []byte{} // go-redis would take an untyped nil for an error
	}
	args = append(args,
		FieldID, e.ID,
		FieldAggregateType, e.AggregateType,
		FieldAggregateID, e.AggregateID,
		FieldType, e.Type,
		FieldPayload, payload,
		FieldHeaders, encodeHeaders(e.Headers, t))
	if e.Topic != "" {
		args = append(args, FieldTopic, e.Topic)
	}
	if e.Key != "" {
		args = append(args, FieldKey, e.Key)
	}
	if e.ContentType != "" {
		args = append(args, FieldContentType, e.ContentType)
	}
	if !e.Time.IsZero() {
		args = append(args, FieldTime, strconv.FormatInt(e.Time.UnixMilli(), 10))
	}
	if more > 0 {
		args = append(args, FieldMore, strconv.Itoa(more))
	}
	return args
}

// encodeHeaders is the JSON object of the headers and the trace context, sorted by name, without
// white space. The trace context is left out if the event has its own traceparent: its parts belong
// together.
func encodeHeaders(headers map[string]string, t trace) string {
	if _, own := headers[traceParentHeader]; own {
		t = trace{}
	}
	if len(headers) == 0 && t.parent == "" {
		return "{}"
	}
	names := make([]string, 0, len(headers)+2)
	size := 2
	for name, value := range headers {
		if name == traceStateHeader && t.parent != "" {
			continue // a tracestate without its traceparent is replaced with it
		}
		names = append(names, name)
		size += len(name) + len(value) + 6
	}
	if t.parent != "" {
		names = append(names, traceParentHeader)
		if t.state != "" {
			names = append(names, traceStateHeader)
		}
		size += len(t.parent) + len(t.state) + 40
	}
	slices.Sort(names)

	out := append(make([]byte, 0, size), '{')
	for i, name := range names {
		if i > 0 {
			out = append(out, ',')
		}
		value := headers[name]
		if t.parent != "" {
			switch name {
			case traceParentHeader:
				value = t.parent
			case traceStateHeader:
				value = t.state
			}
		}
		out = appendJSON(out, name)
		out = append(out, ':')
		out = appendJSON(out, value)
	}
	return string(append(out, '}'))
}

// appendJSON appends s as a JSON string (RFC 8259, section 7): what must be escaped is, nothing
// else. What is not UTF-8 becomes U+FFFD; the limits refuse it before.
func appendJSON(out []byte, s string) []byte {
	const hex = "0123456789abcdef"
	out = append(out, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				out = append(out, s[start:i]...)
				out = append(out, "\uFFFD"...)
				start = i + 1
			}
			i += size
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		out = append(out, s[start:i]...)
		switch c {
		case '"', '\\':
			out = append(out, '\\', c)
		case '\n':
			out = append(out, '\\', 'n')
		case '\r':
			out = append(out, '\\', 'r')
		case '\t':
			out = append(out, '\\', 't')
		default:
			out = append(out, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
		}
		i++
		start = i
	}
	return append(append(out, s[start:]...), '"')
}
