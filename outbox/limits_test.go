package outbox

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

var defaults = func() limits {
	cfg, err := Config{Outbox: "o"}.withDefaults()
	if err != nil {
		panic(err)
	}
	return cfg.limits()
}()

func TestLimits(t *testing.T) {
	good := Event{ID: "i", AggregateType: "order", AggregateID: "42", Type: "Placed"}
	for name, c := range map[string]struct {
		change func(*Event)
		field  string // empty: accepted
		limit  bool
	}{
		"minimal":    {func(*Event) {}, "", false},
		"without id": {func(e *Event) { e.ID = "" }, "", false},
		"longest id": {func(e *Event) { e.ID = strings.Repeat("x", MaxID) }, "", false},
		"longest payload": {func(e *Event) {
			e.Payload = make([]byte, DefaultMaxPayload)
		}, "", false},
		"line break in the key": {func(e *Event) { e.Key = "a\nb" }, "", false},
		"longest topic": {func(e *Event) {
			e.Topic = strings.Repeat("x", MaxTopic)
		}, "", false},
		"too long an id":       {func(e *Event) { e.ID = strings.Repeat("x", MaxID+1) }, "ID", true},
		"line break in the id": {func(e *Event) { e.ID = "a\nb" }, "ID", false},
		"no aggregate type":    {func(e *Event) { e.AggregateType = "" }, "AggregateType", false},
		"too long an aggregate": {func(e *Event) {
			e.AggregateType = strings.Repeat("x", MaxAggregateType+1)
		}, "AggregateType", true},
		"no aggregate id": {func(e *Event) { e.AggregateID = "" }, "AggregateID", false},
		"not UTF-8":       {func(e *Event) { e.AggregateID = "\xff" }, "AggregateID", false},
		"no type":         {func(e *Event) { e.Type = "" }, "Type", false},
		"too long a key": {func(e *Event) {
			e.Key = strings.Repeat("x", MaxKey+1)
		}, "Key", true},
		"too long a topic": {func(e *Event) {
			e.Topic = strings.Repeat("x", MaxTopic+1)
		}, "Topic", true},
		"not a topic":         {func(e *Event) { e.Topic = "a/b" }, "Topic", false},
		"a topic of Sluice's": {func(e *Event) { e.Topic = "sluice.pay.positions" }, "Topic", false},
		"a topic of Kafka's":  {func(e *Event) { e.Topic = "__consumer_offsets" }, "Topic", false},
		"dots":                {func(e *Event) { e.Topic = ".." }, "Topic", false},
		"content type":        {func(e *Event) { e.ContentType = "a\x00" }, "ContentType", false},
		"before 1970":         {func(e *Event) { e.Time = time.UnixMilli(-1) }, "Time", false},
		"too large a payload": {func(e *Event) {
			e.Payload = make([]byte, DefaultMaxPayload+1)
		}, "Payload", true},
		"reserved header": {func(e *Event) {
			e.Headers = map[string]string{"sluice-entry": "x"}
		}, "Headers", false},
		"empty header": {func(e *Event) {
			e.Headers = map[string]string{"": "x"}
		}, "Headers", false},
		"header value not UTF-8": {func(e *Event) {
			e.Headers = map[string]string{"a": "\xff"}
		}, "Headers", false},
		"header name with a tab": {func(e *Event) {
			e.Headers = map[string]string{"a\t": "x"}
		}, "Headers", false},
		"header value with a tab": {func(e *Event) {
			e.Headers = map[string]string{"a": "\t"}
		}, "", false},
		"too large headers": {func(e *Event) {
			e.Headers = map[string]string{"a": strings.Repeat("x", DefaultMaxHeaderBytes)}
		}, "Headers", true},
		"too many headers": {func(e *Event) {
			e.Headers = map[string]string{}
			for i := range DefaultMaxHeaders + 1 {
				e.Headers[strings.Repeat("x", i+1)] = ""
			}
		}, "Headers", true},
	} {
		e := good
		c.change(&e)
		_, err := defaults.check(7, &e)
		var asEvent *EventError
		var asLimit *LimitError
		switch {
		case c.field == "":
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case !errors.As(err, &asEvent) || asEvent.Field != c.field || asEvent.Index != 7:
			t.Errorf("%s: %v, want an error about %s", name, err, c.field)
		case errors.As(err, &asLimit) != c.limit:
			t.Errorf("%s: %v, a limit: %t", name, err, !c.limit)
		}
	}
}

func TestReservedHeaders(t *testing.T) {
	for name, want := range map[string]bool{
		"id": true, "type": true, "content-type": true, "sluice-": true, "sluice-x": true, "ce_id": true,
		"ID": false, "ids": false, "traceparent": false, "sluice": false, "ce": false,
		"Content-Type": false,
	} {
		if ReservedHeader(name) != want {
			t.Errorf("ReservedHeader(%q) = %t", name, !want)
		}
	}
}

// TestLargestRecordFitsKafka adds up what the limits allow: key, value, headers of the raw format,
// and the framing of a record batch (61 bytes) and of a record (at most 5 bytes for each of its
// varints).
func TestLargestRecordFitsKafka(t *testing.T) {
	const varint = 5
	fixed := map[string]int{
		"id": MaxID, "type": MaxType, "content-type": MaxContentType,
		"sluice-entry": 100 + 1 + 5 + 1 + 41,
	}
	size := 61 + 8*varint + MaxKey + DefaultMaxPayload + DefaultMaxHeaderBytes +
		DefaultMaxHeaders*2*varint
	for name, value := range fixed {
		size += len(name) + value + 2*varint
	}
	if size > 1_000_012 {
		t.Errorf("the largest record is %d bytes, franz-go sends 1,000,012 by default", size)
	}
}

// TestAcceptedEventsEncode: what the limits accept is encoded without loss, as valid UTF-8 but for
// the payload.
func TestAcceptedEventsEncode(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z]{1,10}`))
	rapid.Check(t, func(t *rapid.T) {
		e := Event{
			ID: text.Draw(t, "id"), AggregateType: text.Draw(t, "aggregatetype"),
			AggregateID: text.Draw(t, "aggregateid"),
			Type:        text.Draw(t, "type"), Key: text.Draw(t, "key"),
			ContentType: text.Draw(t, "contenttype"),
			Payload:     rapid.SliceOf(rapid.Byte()).Draw(t, "payload"),
			Headers:     rapid.MapOfN(text, text, 0, 4).Draw(t, "headers"),
		}
		if _, err := defaults.check(0, &e); err != nil {
			return
		}
		seen := map[string]bool{}
		fields := EntryFields(e, 0)
		for i := 0; i < len(fields); i += 2 {
			name := fields[i].(string)
			if seen[name] {
				t.Fatalf("field %s is there twice", name)
			}
			seen[name] = true
			if s, ok := fields[i+1].(string); ok && !utf8.ValidString(s) {
				t.Fatalf("field %s is %q", name, s)
			}
		}
		if len(seen) < 6 {
			t.Fatalf("only %d fields", len(seen))
		}
	})
}

func TestTransactionLimits(t *testing.T) {
	l := limits{events: 2, bytes: 10}
	for _, c := range []struct {
		events, bytes int
		ok            bool
	}{{2, 10, true}, {3, 1, false}, {1, 11, false}} {
		if err := l.transaction(c.events, c.bytes); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
