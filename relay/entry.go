package relay

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/rawreply"
	"github.com/sluice-outbox/sluice/outbox"
)

// entry is a decoded stream entry. Its slices point into the reply that it came in.
type entry struct {
	id     outbox.EntryID
	fields []byte // the RESP array as Redis sent it

	eventID       []byte
	aggregateType []byte
	aggregateID   []byte
	eventType     []byte
	payload       []byte
	topic         []byte
	key           []byte
	contentType   []byte
	headers       []kgo.RecordHeader
	timeMS        int64
	more          int // entries of the same MULTI/EXEC that follow
}

// partitionKey is the key of the record. Shard and partition are computed from it.
func (e *entry) partitionKey() []byte {
	if len(e.key) > 0 {
		return e.key
	}
	return e.aggregateID
}

// fingerprint distinguishes two entries with one ID. It is XXH64 of the fields as Redis sends them:
// a RESP array of bulk strings on every server version. Never 0, so that 0 can mean "no anchor".
func fingerprint(fields []byte) uint64 {
	if h := xxhash.Sum64(fields); h != 0 {
		return h
	}
	return 1
}

func formatFingerprint(h uint64) string {
	if h == 0 {
		return ""
	}
	return fmt.Sprintf("%016x", h)
}

func parseFingerprint(s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	h, err := strconv.ParseUint(s, 16, 64)
	if err != nil || h == 0 || len(s) != 16 {
		return 0, fmt.Errorf("fingerprint %q: want 16 hexadecimal digits, not all 0", s)
	}
	return h, nil
}

// The fields of the wire format as bits, to notice what is missing and what is there twice.
const (
	hasID = 1 << iota
	hasAggregateType
	hasAggregateID
	hasType
	hasPayload
	hasHeaders
	hasTopic
	hasKey
	hasContentType
	hasTime
	hasMore
	hasVersion

	hasRequired = hasID | hasAggregateType | hasAggregateID | hasType | hasPayload | hasHeaders
)

// decode reads the fields of raw into e, in any order. The error says what does not conform to
// docs/wire-format.md. e.more and e.id are set as far as they could be read even then.
func (e *entry) decode(raw rawEntry) error {
	*e = entry{
		id: raw.id, fields: raw.fields, headers: e.headers[:0],
		timeMS: int64(min(raw.id.MS, 1<<62)),
	}
	p := parser{b: raw.fields}
	n, err := p.array()
	if err != nil {
		return err
	}
	if n%2 != 0 {
		return errors.New("odd number of fields and values")
	}
	var (
		seen    int
		headers []byte
		version []byte
		problem error
	)
	note := func(format string, args ...any) {
		if problem == nil {
			problem = fmt.Errorf(format, args...)
		}
	}
	for range n / 2 {
		name, err := p.bulk()
		if err != nil {
			return err
		}
		value, err := p.bulk()
		if err != nil {
			return err
		}
		var bit int
		switch string(name) {
		case "id":
			bit, e.eventID = hasID, value
		case "aggregatetype":
			bit, e.aggregateType = hasAggregateType, value
		case "aggregateid":
			bit, e.aggregateID = hasAggregateID, value
		case "type":
			bit, e.eventType = hasType, value
		case "payload":
			bit, e.payload = hasPayload, value
		case "headers":
			bit, headers = hasHeaders, value
		case "topic":
			bit, e.topic = hasTopic, value
		case "key":
			bit, e.key = hasKey, value
		case "contenttype":
			bit, e.contentType = hasContentType, value
		case "time":
			bit = hasTime
			if ms, err := rawreply.Number(value); err != nil || ms < 0 {
				note("field time is %q, want Unix milliseconds", clip(value))
			} else {
				e.timeMS = int64(ms)
			}
		case "more":
			bit = hasMore
			if m, err := rawreply.Number(value); err != nil || m < 0 {
				note("field more is %q, want a count", clip(value))
			} else {
				e.more = m
			}
		case "v":
			bit, version = hasVersion, value
		default:
			note("unknown field %q", clip(name))
			continue
		}
		if seen&bit != 0 {
			note("field %q occurs twice", name)
		}
		seen |= bit
	}
	if problem != nil {
		return problem
	}
	if seen&hasVersion != 0 && string(version) != strconv.Itoa(outbox.FormatVersion) {
		return fmt.Errorf("format version is %q, this relay knows %d", clip(version),
			outbox.FormatVersion)
	}
	if missing := hasRequired &^ seen; missing != 0 {
		for i, name := range []string{
			"id", "aggregatetype", "aggregateid", "type", "payload",
			"headers",
		} {
			if missing&(1<<i) != 0 {
				return fmt.Errorf("field %s is missing", name)
			}
		}
	}
	switch {
	case len(e.eventID) == 0:
		return errors.New("field id is empty")
	case len(e.aggregateType) == 0:
		return errors.New("field aggregatetype is empty")
	case len(e.aggregateID) == 0:
		return errors.New("field aggregateid is empty")
	case len(e.eventType) == 0:
		return errors.New("field type is empty")
	}
	if e.headers, err = parseHeaders(e.headers, headers); err != nil {
		return fmt.Errorf("field headers: %w", err)
	}
	for _, h := range e.headers {
		if outbox.ReservedHeader(h.Key) {
			return fmt.Errorf("header %q is reserved", clip([]byte(h.Key)))
		}
	}
	return nil
}

// peekMore finds the field more without decoding the rest. The reader looks for the end of a group
// with it.
func peekMore(fields []byte) bool {
	// Most entries do not have the field: one search decides that.
	if !bytes.Contains(fields, []byte("\r\n$4\r\nmore\r\n")) {
		return false
	}
	var e entry
	_ = e.decode(rawEntry{fields: fields})
	return e.more > 0
}
