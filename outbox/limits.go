package outbox

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sluice-outbox/sluice/internal/names"
)

// The defaults of Config's limits. With the largest key and headers that they allow, a record with
// the largest payload stays below 1,000,012 bytes, franz-go's default batch, and so below
// 1,048,588, the brokers' default max.message.bytes.
const (
	DefaultMaxPayload     = 1_000_000 - recordAllowance
	DefaultMaxHeaders     = 64
	DefaultMaxHeaderBytes = 32 << 10
	DefaultMaxEvents      = 1_000
	DefaultMaxBytes       = 8 << 20

	// recordAllowance is what is left for everything but the payload: key, headers, framing.
	recordAllowance = 40 << 10
)

// The longest texts of an event, in bytes.
const (
	MaxID            = 200
	MaxAggregateType = 200
	MaxType          = 255
	MaxKey           = 1024 // of AggregateID and of Key
	MaxTopic         = 249  // Kafka's own limit
	MaxContentType   = 255
)

// LimitError says that an event, or a transaction, is larger than a limit. Nothing was sent.
type LimitError struct {
	What string // for example "payload", "headers", "events of the transaction"
	Size int    // bytes, or a count
	Max  int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s: %d, at most %d", e.What, e.Size, e.Max)
}

// EventError says that an event is not one. Nothing was sent.
type EventError struct {
	Index int    // of the event among the arguments of its Append
	Field string // the field of Event
	Err   error  // what is wrong: a *LimitError if it is too large
}

func (e *EventError) Error() string {
	return fmt.Sprintf("event %d: %s: %v", e.Index, e.Field, e.Err)
}

func (e *EventError) Unwrap() error { return e.Err }

// limits are Config's, with the defaults filled in.
type limits struct {
	payload, headers, headerBytes, events, bytes int
}

// check reports the first thing that is wrong with an event whose ID may still be empty, and its
// approximate size.
func (l limits) check(index int, e *Event) (size int, err error) {
	bad := func(field string, err error) (int, error) {
		return 0, &EventError{Index: index, Field: field, Err: err}
	}
	texts := [...]struct {
		field, value string
		most         int
		required     bool
		plain        bool // without control characters
	}{
		{"ID", e.ID, MaxID, false, true},
		{"AggregateType", e.AggregateType, MaxAggregateType, true, true},
		{"AggregateID", e.AggregateID, MaxKey, true, false},
		{"Type", e.Type, MaxType, true, true},
		{"Key", e.Key, MaxKey, false, false},
		{"ContentType", e.ContentType, MaxContentType, false, true},
	}
	for i := range texts {
		t := &texts[i]
		if t.value == "" {
			if t.required {
				return bad(t.field, errors.New("is empty"))
			}
			continue
		}
		if err := checkText(t.value, t.most, t.plain); err != nil {
			return bad(t.field, err)
		}
		size += len(t.value)
	}
	if err := checkTopic(e.Topic); err != nil {
		return bad("Topic", err)
	}
	if !e.Time.IsZero() && e.Time.UnixMilli() < 0 {
		return bad("Time", errors.New("is before 1970, which Kafka refuses"))
	}
	if len(e.Payload) > l.payload {
		return bad("Payload", &LimitError{What: "bytes", Size: len(e.Payload), Max: l.payload})
	}
	bytes, err := l.checkHeaders(e.Headers)
	if err != nil {
		return bad("Headers", err)
	}
	return size + len(e.Topic) + len(e.Payload) + bytes, nil
}

func (l limits) checkHeaders(headers map[string]string) (bytes int, err error) {
	if len(headers) > l.headers {
		return 0, &LimitError{What: "count", Size: len(headers), Max: l.headers}
	}
	for name, value := range headers {
		switch {
		case name == "":
			return 0, errors.New("a name is empty")
		case ReservedHeader(name):
			return 0, fmt.Errorf("the name %q is reserved", name)
		}
		if err := checkText(name, l.headerBytes, true); err != nil {
			return 0, fmt.Errorf("name %q: %w", name, err)
		}
		if !utf8.ValidString(value) {
			return 0, fmt.Errorf("value of %q: not valid UTF-8", name)
		}
		bytes += len(name) + len(value)
	}
	if bytes > l.headerBytes {
		return 0, &LimitError{What: "bytes", Size: bytes, Max: l.headerBytes}
	}
	return bytes, nil
}

func checkText(s string, most int, plain bool) error {
	switch {
	case len(s) > most:
		return &LimitError{What: "bytes", Size: len(s), Max: most}
	case !utf8.ValidString(s):
		return errors.New("not valid UTF-8")
	case plain && strings.IndexFunc(s, unicode.IsControl) >= 0:
		return errors.New("has a control character")
	}
	return nil
}

// checkTopic refuses an override that the relay would make a dead letter. Without one the relay's
// route decides.
func checkTopic(s string) error {
	if s == "" {
		return nil
	}
	if len(s) > MaxTopic {
		return &LimitError{What: "bytes", Size: len(s), Max: MaxTopic}
	}
	return names.ValidateEventTopic(s)
}

// transaction checks what all events of one EXEC make together.
func (l limits) transaction(events, bytes int) error {
	if events > l.events {
		return &LimitError{What: "events of one transaction", Size: events, Max: l.events}
	}
	if bytes > l.bytes {
		return &LimitError{What: "bytes of one transaction", Size: bytes, Max: l.bytes}
	}
	return nil
}
