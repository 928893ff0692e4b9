package consistency

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/sluice-outbox/sluice/outbox"
)

func decoded(fields ...string) entry {
	var e entry
	e.decode(raw(EntryID{MS: 7, Seq: 1}, fields...))
	return e
}

func TestDecode(t *testing.T) {
	t.Parallel()
	full := []string{
		"id", "1", "aggregatetype", "order", "aggregateid", "42", "type", "placed",
		"payload", "p", "headers", `{"b":"2","a":"1"}`,
	}
	e := decoded(append(full, "topic", "t", "key", "k", "contenttype", "text/plain", "time", "5",
		"more", "2", "v", "1")...)
	if e.bad != "" || string(e.recordKey()) != "k" || e.timeMS != 5 || len(e.headers) != 2 ||
		e.headers[0].name != "b" {
		t.Errorf("%+v", e)
	}
	shuffled := append(slices.Clone(full[6:]), full[:6]...)
	if e := decoded(shuffled...); e.bad != "" || string(e.recordKey()) != "42" || e.timeMS != 7 {
		t.Errorf("%+v", e)
	}
	with := func(more ...string) []string { return append(slices.Clone(full), more...) }
	set := func(i int, v string) []string { f := slices.Clone(full); f[i] = v; return f }
	for want, fields := range map[string][]string{
		"odd number":           full[:11],
		"payload is missing":   append(slices.Clone(full[:8]), full[10:]...),
		"id is empty":          set(1, ""),
		"aggregateid is empty": set(5, ""),
		"unknown field":        with("x", "y"),
		"occurs twice":         with("id", "2"),
		"format version":       with("v", "2"),
		"field time":           with("time", "-5"),
		"field more":           with("more", "x"),
		"reserved":             set(11, `{"ce_id":"x"}`),
		"JSON object":          set(11, `["a"]`),
		"header \"a\" occurs":  set(11, `{"a":"1","a":"2"}`),
		"after the object":     set(11, `{"a":"1"} x`),
	} {
		if e := decoded(fields...); !strings.Contains(e.bad, want) {
			t.Errorf("%q: %q", want, e.bad)
		}
	}
}

// TestHeadersFastAndSlow: the reading in place and the one by encoding/json give the same.
func TestHeadersFastAndSlow(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z"\\é]{1,5}`)
		names := rapid.SliceOfNDistinct(name, 1, 4, rapid.ID[string]).Draw(t, "names")
		var parts []string
		for _, n := range names {
			v := rapid.String().Draw(t, "value")
			a, _ := json.Marshal(n)
			b, _ := json.Marshal(v)
			parts = append(parts, string(a)+":"+string(b))
		}
		text := []byte("{" + strings.Join(parts, ",") + "}")
		got, err := readHeaders(nil, text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		want, err := decodeHeaders(nil, text)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%s: %v, want %v (%v)", text, got, want, err)
		}
	})
}

// TestReadsWhatTheWriterWrites: the reader and the outbox package agree about the wire format
// without sharing its code.
func TestReadsWhatTheWriterWrites(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-z0-9é]{1,8}`)
		maybe := rapid.OneOf(rapid.Just(""), text)
		ev := outbox.Event{
			ID:            text.Draw(t, "id"),
			AggregateType: text.Draw(t, "aggregate type"),
			AggregateID:   text.Draw(t, "aggregate"),
			Type:          text.Draw(t, "type"),
			Payload:       rapid.SliceOf(rapid.Byte()).Draw(t, "payload"),
			Key:           maybe.Draw(t, "key"),
			Topic:         maybe.Draw(t, "topic"),
			ContentType:   maybe.Draw(t, "content type"),
			Headers: map[string]string{
				"x" + text.Draw(t, "name"): rapid.String().Filter(utf8.ValidString).Draw(t, "value"),
			},
		}
		if rapid.Bool().Draw(t, "timed") {
			ev.Time = time.UnixMilli(rapid.Int64Range(1, 1<<40).Draw(t, "time"))
		}
		var fields []string
		for _, f := range outbox.EntryFields(ev, rapid.IntRange(0, 3).Draw(t, "more")) {
			if b, ok := f.([]byte); ok {
				f = string(b)
			}
			fields = append(fields, f.(string))
		}
		e := decoded(fields...)
		if e.bad != "" || string(e.eventID) != ev.ID || string(e.recordKey()) != ev.RoutingKey() ||
			!bytes.Equal(e.payload, ev.Payload) || string(e.topic) != ev.Topic {
			t.Fatalf("%q: %+v", e.bad, e)
		}
		for name, value := range ev.Headers {
			if len(e.headers) != 1 || e.headers[0].name != name || string(e.headers[0].value) != value {
				t.Fatalf("%q", e.headers)
			}
		}
		if !ev.Time.IsZero() && e.timeMS != uint64(ev.Time.UnixMilli()) {
			t.Fatalf("time %d", e.timeMS)
		}
	})
}

func TestReply(t *testing.T) {
	t.Parallel()
	text := "*2\r\n*2\r\n$3\r\n5-1\r\n*4\r\n$1\r\na\r\n$0\r\n\r\n$1\r\nb\r\n$2\r\n\r\n\r\n" +
		"*2\r\n$3\r\n6-0\r\n*2\r\n$1\r\nc\r\n$1\r\nd\r\n"
	r := reply{b: []byte(text)}
	got, err := r.entries(nil)
	if err != nil || len(got) != 2 || got[0].id != (EntryID{MS: 5, Seq: 1}) ||
		string(got[0].fields[3]) != "\r\n" || string(got[1].raw) != "*2\r\n$1\r\nc\r\n$1\r\nd\r\n" {
		t.Fatalf("%v %v", got, err)
	}
	for i := range len(text) {
		r := reply{b: []byte(text[:i])}
		if _, err := r.entries(nil); err == nil {
			t.Errorf("cut at %d of %d: no error", i, len(text))
		}
	}
}

func FuzzReply(f *testing.F) {
	f.Add([]byte("*1\r\n*2\r\n$3\r\n5-1\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n"))
	f.Add([]byte("*-1\r\n"))
	f.Add([]byte("-ERR x\r\n"))
	f.Add([]byte("*1\r\n*2\r\n$3\r\n5-1\r\n*99999999999\r\n"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		r := reply{b: b}
		entries, err := r.entries(nil)
		if err != nil {
			return
		}
		var e entry
		for _, x := range entries {
			e.decode(x)
		}
	})
}

func TestRoute(t *testing.T) {
	t.Parallel()
	e := decoded("id", "1", "aggregatetype", "Order", "aggregateid", "42",
		"type", "placed", "payload", "", "headers", `{"tenant":"x"}`)
	for text, want := range map[string]string{
		"":                                    "",
		"orders":                              "orders",
		DefaultRoute:                          "outbox.event.Order",
		"{{lower .AggregateType}}":            "order",
		"{{.AggregateType | lower}}":          "order",
		`{{header "tenant"}}.{{.Type}}`:       "x.placed",
		"{{if eq .Key \"42\"}}a{{end}}":       "a",
		"no spaces {{.AggregateType}}":        "",
		"{{.AggregateType}}.{{.AggregateID}}": "Order.42",
	} {
		r, err := newRoute(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		for range 2 { // remembered, or not
			if got, ok := r.topic(&e); got != want || ok != (want != "") {
				t.Errorf("%s: %q %v", text, got, ok)
			}
		}
	}
	for _, text := range []string{"{{", "{{.Nothing}}"} {
		if _, err := newRoute(text); err == nil {
			t.Errorf("%s: accepted", text)
		}
	}
	e.topic = []byte("own")
	r, _ := newRoute(DefaultRoute)
	if got, ok := r.topic(&e); got != "own" || !ok {
		t.Errorf("%q", got)
	}
}
