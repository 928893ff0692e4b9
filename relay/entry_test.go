package relay

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/sluice-outbox/sluice/internal/delivery"
	"github.com/sluice-outbox/sluice/outbox"
)

func TestDecode(t *testing.T) {
	t.Parallel()
	var e entry
	raw := rawEntry{
		outbox.EntryID{MS: 1767319445000, Seq: 3},
		resp("id", "e-1", "aggregatetype", "order", "aggregateid", "42", "type", "Placed", "payload",
			"\x00\r\n", "headers", `{"b":"1","a":"2"}`,
			"topic", "t", "key", "k", "contenttype", "text/plain", "time", "1700000000123",
			"more", "2", "v", "1"),
	}
	if err := e.decode(raw); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][2]string{
		"id": {string(e.eventID), "e-1"}, "aggregate type": {string(e.aggregateType), "order"},
		"aggregate id": {string(e.aggregateID), "42"}, "type": {string(e.eventType), "Placed"},
		"payload": {string(e.payload), "\x00\r\n"}, "topic": {string(e.topic), "t"},
		"key": {string(e.key), "k"}, "content type": {string(e.contentType), "text/plain"},
		"time": {strconv.FormatInt(e.timeMS, 10), "1700000000123"}, "more": {strconv.Itoa(e.more), "2"},
		"entry": {e.id.String(), "1767319445000-3"}, "partition key": {string(e.partitionKey()), "k"},
		"headers": {headerText(e.headers), "b=1 a=2"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: got %q, want %q", name, got[0], got[1])
		}
	}

	// The same variable decodes the next entry: nothing of the last may stay.
	if err := e.decode(rawEntry{
		outbox.EntryID{MS: 7},
		resp("headers", "", "payload", "", "type", "T", "aggregateid", "A", "aggregatetype", "AT", "id",
			"I"),
	}); err != nil {
		t.Fatal(err)
	}
	if e.topic != nil || e.key != nil || e.contentType != nil || e.more != 0 || len(e.headers) != 0 ||
		e.timeMS != 7 || string(e.partitionKey()) != "A" {
		t.Errorf("left over: %+v", e)
	}
}

func headerText(headers []kgo.RecordHeader) string {
	var parts []string
	for _, h := range headers {
		parts = append(parts, h.Key+"="+string(h.Value))
	}
	return strings.Join(parts, " ")
}

// with is a good entry with some fields changed; a value "-" removes the field.
func with(changes ...string) []byte {
	fields := event("e-1", "42")
	for i := 0; i < len(changes); i += 2 {
		found := false
		for j := 0; j < len(fields); j += 2 {
			if fields[j] != changes[i] {
				continue
			}
			found = true
			if changes[i+1] == "-" {
				fields = append(fields[:j:j], fields[j+2:]...)
			} else {
				fields[j+1] = changes[i+1]
			}
			break
		}
		if !found {
			fields = append(fields, changes[i], changes[i+1])
		}
	}
	return resp(fields...)
}

func TestDecodeUndecodable(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		fields []byte
		want   string
	}{
		"unknown field":    {with("colour", "red"), `unknown field "colour"`},
		"unknown and long": {with(strings.Repeat("x", 500), "red"), `…`},
		"upper case":       {with("id", "-", "ID", "e-1"), `unknown field "ID"`},
		"twice": {
			resp(append(event("e-1", "42"), "key", "a", "key", "a")...),
			`field "key" occurs twice`,
		},
		"required twice": {
			resp(append(event("e-1", "42"), "id", "e-1")...),
			`field "id" occurs twice`,
		},
		"time not a number":  {with("time", "yesterday"), `field time is "yesterday"`},
		"time negative":      {with("time", "-1"), "field time"},
		"time empty":         {with("time", ""), "field time"},
		"time fraction":      {with("time", "1.5"), "field time"},
		"time with a sign":   {with("time", "+1"), "field time"},
		"time too long":      {with("time", strings.Repeat("9", 400)), "field time"},
		"more not a number":  {with("more", "many"), `field more is "many"`},
		"more negative":      {with("more", "-1"), "field more"},
		"version 2":          {with("v", "2"), `format version is "2"`},
		"version empty":      {with("v", ""), "format version"},
		"headers not JSON":   {with("headers", "a=b"), "field headers"},
		"headers of numbers": {with("headers", `{"a":1}`), "field headers"},
		"header twice":       {with("headers", `{"a":"1","a":"2"}`), "occurs twice"},
		"odd":                {resp("id"), "odd number"},
		"nothing":            {resp(), "field id is missing"},
		"not an array":       {[]byte("$2\r\nid\r\n"), "want an array"},
		"cut off":            {with()[:40], "ends too early"},
	}
	for _, name := range []string{"id", "aggregatetype", "aggregateid", "type", "payload", "headers"} {
		cases["no "+name] = struct {
			fields []byte
			want   string
		}{with(name, "-"), "field " + name + " is missing"}
	}
	for _, name := range []string{"id", "aggregatetype", "aggregateid", "type"} {
		cases["empty "+name] = struct {
			fields []byte
			want   string
		}{with(name, ""), "field " + name + " is empty"}
	}
	for _, name := range []string{
		"id", "type", "content-type", "ce_id", "ce_", "sluice-",
		"sluice-entry", "sluice-anything",
	} {
		cases["reserved "+name] = struct {
			fields []byte
			want   string
		}{with("headers", `{"`+name+`":"x"}`), "is reserved"}
	}
	for name, c := range cases {
		var e entry
		err := e.decode(rawEntry{outbox.EntryID{MS: 1}, c.fields})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		} else if len(err.Error()) > 300 {
			t.Errorf("%s: the error has %d characters", name, len(err.Error()))
		}
	}
	for _, name := range []string{"ce", "sluice", "Id", "content-Type", "x-id", "traceparent"} {
		var e entry
		if err := e.decode(rawEntry{
			outbox.EntryID{MS: 1},
			with("headers", `{"`+name+`":"x"}`),
		}); err != nil {
			t.Errorf("header %s: %v", name, err)
		}
	}
}

// The time of an entry from the far future must not overflow into the past.
func TestDecodeFutureTime(t *testing.T) {
	t.Parallel()
	for _, ms := range []uint64{0, 1, math.MaxInt64, math.MaxUint64} {
		var e entry
		if err := e.decode(rawEntry{outbox.EntryID{MS: ms}, with()}); err != nil {
			t.Fatal(err)
		}
		if e.timeMS < 0 || ms <= 1 && e.timeMS != int64(ms) {
			t.Errorf("entry at %d has time %d", ms, e.timeMS)
		}
		if text := eventTime(&e); len(text) < len("2006-01-02T15:04:05.000Z") {
			t.Errorf("entry at %d: %s", ms, text)
		} else if _, err := time.Parse(time.RFC3339Nano, text); err != nil {
			t.Errorf("entry at %d: %v", ms, err)
		}
	}
}

func TestPeekMore(t *testing.T) {
	t.Parallel()
	for want, cases := range map[bool][][]byte{
		false: {
			with(), with("more", "0"), with("payload", "\r\n$4\r\nmore\r\n$1\r\n1\r\n"),
			with("more", "-"), with("key", "more"), nil, resp(),
		},
		true: {
			with("more", "1"), with("more", "17"),
			with("more", "1", "colour", "red"), // undecodable, and in a group all the same
			with("more", "1", "id", ""), with("more", "1", "time", "x"),
		},
	} {
		for _, fields := range cases {
			if got := peekMore(fields); got != want {
				t.Errorf("%q: got %v", fields, got)
			}
		}
	}
}

// vectors is what outbox/testdata/vectors.json says about the reading side.
type vectors struct {
	Entries []struct {
		Name  string
		Event struct {
			ID, AggregateType, AggregateID, Type, Topic, Key, ContentType vectorText
			Payload                                                       vectorText
			Headers                                                       map[string]string
			Time                                                          int64
		}
		More   int
		Fields []vectorText
	}
	Records []struct {
		Name, Outbox string
		Shard        int
		Entry        outbox.EntryID
		Fields       []vectorText
		Record       *struct {
			Topic      *string
			Key, Value vectorText
			Timestamp  int64
			Headers    [][2]vectorText
		}
		Undecodable string
	}
}

// vectorText is text, or bytes that JSON cannot hold as {"base64": "…"}.
type vectorText string

func (v *vectorText) UnmarshalJSON(b []byte) error {
	var bytes struct{ Base64 string }
	if b[0] != '{' {
		return json.Unmarshal(b, (*string)(v))
	}
	if err := json.Unmarshal(b, &bytes); err != nil {
		return err
	}
	raw, err := base64.StdEncoding.DecodeString(bytes.Base64)
	*v = vectorText(raw)
	return err
}

func readVectors(t testing.TB) vectors {
	t.Helper()
	b, err := os.ReadFile("../outbox/testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Entries) < 10 || len(v.Records) < 10 {
		t.Fatalf("%d entries and %d records", len(v.Entries), len(v.Records))
	}
	return v
}

func fieldsOf(texts []vectorText) []byte {
	fields := make([]string, len(texts))
	for i, f := range texts {
		fields[i] = string(f)
	}
	return resp(fields...)
}

// What the writer's vectors say goes in has to come out.
func TestDecodeVectors(t *testing.T) {
	t.Parallel()
	for _, v := range readVectors(t).Entries {
		var e entry
		if err := e.decode(rawEntry{outbox.EntryID{MS: 1}, fieldsOf(v.Fields)}); err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		want := v.Event
		if want.Time == 0 {
			want.Time = 1 // of the entry ID
		}
		headers := map[string]string{}
		for _, h := range e.headers {
			headers[h.Key] = string(h.Value)
		}
		if string(e.eventID) != string(want.ID) ||
			string(e.aggregateType) != string(want.AggregateType) ||
			string(e.aggregateID) != string(want.AggregateID) ||
			string(e.eventType) != string(want.Type) || string(e.payload) != string(want.Payload) ||
			string(e.topic) != string(want.Topic) || string(e.key) != string(want.Key) ||
			string(e.contentType) != string(want.ContentType) || e.timeMS != want.Time || e.more != v.More {
			t.Errorf("%s: got %+v", v.Name, e)
		}
		if len(headers) != len(want.Headers) {
			t.Errorf("%s: headers %v, want %v", v.Name, headers, want.Headers)
		}
		for name, value := range want.Headers {
			if headers[name] != value {
				t.Errorf("%s: header %q is %q, want %q", v.Name, name, headers[name], value)
			}
		}
	}
}

// The vectors' records, raw format: either the record that has to come out, or an entry that is
// undecodable.
func TestRecordVectors(t *testing.T) {
	t.Parallel()
	decodable, undecodable := 0, 0
	for _, v := range readVectors(t).Records {
		var e entry
		err := e.decode(rawEntry{v.Entry, fieldsOf(v.Fields)})
		if v.Record == nil {
			undecodable++
			if err == nil {
				t.Errorf("%s: decoded, though %s", v.Name, v.Undecodable)
			}
			continue
		}
		decodable++
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		router, err := newRouter("by.route")
		if err != nil {
			t.Fatal(err)
		}
		topic, err := router.topic(&e)
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
		f := formatter{
			encoding: rawFormat{}, prefix: delivery.PositionKey(v.Outbox, v.Shard) + "/",
			now: func() time.Time {
				return time.UnixMilli(1 << 50)
			},
		}
		var r kgo.Record
		if _, err := f.record(t.Context(), &r, &e, topic, nil); err != nil {
			t.Fatal(err)
		}
		wantTopic := "by.route"
		if v.Record.Topic != nil {
			wantTopic = *v.Record.Topic
		}
		if r.Topic != wantTopic || string(r.Key) != string(v.Record.Key) ||
			string(r.Value) != string(v.Record.Value) || r.Value == nil ||
			r.Timestamp.UnixMilli() != v.Record.Timestamp {
			t.Errorf("%s: got topic %s, key %q, value %q, time %d", v.Name, r.Topic, r.Key, r.Value,
				r.Timestamp.UnixMilli())
		}
		var want []kgo.RecordHeader
		for _, h := range v.Record.Headers {
			want = append(want, kgo.RecordHeader{Key: string(h[0]), Value: []byte(h[1])})
		}
		if got := headerText(r.Headers); got != headerText(want) {
			t.Errorf("%s: headers %q, want %q", v.Name, got, headerText(want))
		}
	}
	if decodable == 0 || undecodable == 0 {
		t.Errorf("%d records, %d undecodable entries: the vectors have both", decodable, undecodable)
	}
}

func TestFingerprintText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := rapid.Uint64().Draw(t, "h")
		got, err := parseFingerprint(formatFingerprint(h))
		if err != nil || got != h {
			t.Fatalf("%d became %q became %d, %v", h, formatFingerprint(h), got, err)
		}
	})
	for _, text := range []string{
		"0000000000000000", "1", "123456789abcdefg", "00123456789abcdef",
		"0x12345678901234", " 123456789abcdef", "-123456789abcdef",
	} {
		if got, err := parseFingerprint(text); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
	// XXH64 of the empty input, by its specification: the fingerprint must not change between
	// versions of Sluice.
	if got := formatFingerprint(fingerprint(nil)); got != "ef46db3751d8e999" {
		t.Errorf("fingerprint of nothing is %s", got)
	}
	if got := formatFingerprint(fingerprint(with())); got != "390567500f5f419b" {
		t.Errorf("fingerprint of a known entry is %s", got)
	}
}

// dumbDecode is the page docs/wire-format.md, rule by rule.
func dumbDecode(fields []string) (ok bool, more int) {
	known := map[string]bool{
		"id": true, "aggregatetype": true, "aggregateid": true, "type": true, "payload": true,
		"headers": true,
		"topic":   false, "key": false, "contenttype": false, "time": false, "more": false, "v": false,
	}
	values := map[string]string{}
	ok = true
	for i := 0; i < len(fields); i += 2 {
		_, isKnown := known[fields[i]]
		_, double := values[fields[i]]
		ok = ok && isKnown && !double
		values[fields[i]] = fields[i+1]
	}
	for name, required := range known {
		value, there := values[name]
		ok = ok && (there || !required)
		switch name {
		case "id", "aggregatetype", "aggregateid", "type":
			ok = ok && value != ""
		case "headers":
			_, isObject := members([]byte(value))
			ok = ok && isObject
		case "time", "more":
			n, err := strconv.ParseUint(value, 10, 59)
			ok = ok && (!there || err == nil)
			if name == "more" && err == nil {
				more = int(n)
			}
		case "v":
			ok = ok && (!there || value == "1")
		}
	}
	return ok, more
}

func TestDecodeAgainstTheRules(t *testing.T) {
	t.Parallel()
	names := []string{
		"id", "aggregatetype", "aggregateid", "type", "payload", "headers", "topic",
		"key", "contenttype", "time", "more", "v",
	}
	field := rapid.Custom(func(t *rapid.T) []string {
		name := rapid.OneOf(rapid.SampledFrom(names), rapid.SampledFrom(names),
			rapid.SampledFrom([]string{"ID", "", "colour", "more "})).Draw(t, "name")
		return []string{
			name,
			rapid.SampledFrom([]string{
				"", "1", "2", "0", "-1", "x", "{}", `{"a":"b"}`,
				"\r\n$4\r\nmore\r\n$1\r\n1\r\n",
			}).Draw(t, "value"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		var fields []string
		if rapid.Bool().Draw(t, "good beginning") {
			fields = event("e-1", "42")
		}
		for _, f := range rapid.SliceOfN(field, 0, 4).Draw(t, "fields") {
			fields = append(fields, f...)
		}
		want, more := dumbDecode(fields)
		var e entry
		err := e.decode(rawEntry{outbox.EntryID{MS: 1}, resp(fields...)})
		if (err == nil) != want {
			t.Fatalf("%q: %v, the rules say %v", fields, err, want)
		}
		if want && (e.more != more || peekMore(resp(fields...)) != (more > 0)) {
			t.Fatalf("%q: more is %d, peekMore %v, want %d", fields, e.more, peekMore(resp(fields...)), more)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(with())
	f.Add(with("more", "2", "v", "1", "time", "17", "headers", `{"a":"\u0000"}`))
	f.Add([]byte("*2\r\n$-1\r\n"))
	f.Fuzz(func(t *testing.T, fields []byte) {
		before := bytes.Clone(fields)
		var e entry
		err := e.decode(rawEntry{outbox.EntryID{MS: 5, Seq: 5}, fields})
		if !bytes.Equal(fields, before) {
			t.Fatal("the entry was written to")
		}
		peekMore(fields)
		if err != nil {
			return
		}
		if len(e.eventID) == 0 || len(e.aggregateType) == 0 || len(e.aggregateID) == 0 ||
			len(e.eventType) == 0 || e.timeMS < 0 || e.more < 0 || len(e.partitionKey()) == 0 {
			t.Fatalf("accepted %+v", e)
		}
		for _, h := range e.headers {
			if outbox.ReservedHeader(h.Key) {
				t.Fatalf("accepted header %q", h.Key)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for name, fields := range map[string][]byte{
		"six fields": with("payload", strings.Repeat("x", 200)),
		"headers": with("payload", strings.Repeat("x", 200), "headers",
			`{"tenant":"acme","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}`,
			"contenttype", "application/json"),
	} {
		b.Run(name, func(b *testing.B) {
			raw := rawEntry{outbox.EntryID{MS: 1700000000000, Seq: 1}, fields}
			var e entry
			b.SetBytes(int64(len(fields)))
			b.ReportAllocs()
			for b.Loop() {
				if err := e.decode(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
