package relay

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestParseHeaders(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                                {},
		"{}":                              {},
		" { } ":                           {},
		"\t{\n}\r\n":                      {},
		`{"a":"1"}`:                       {"a", "1"},
		`{"b":"1","a":"2"}`:               {"b", "1", "a", "2"}, // in their order
		` { "a" : "1" , "b" : "2" } `:     {"a", "1", "b", "2"},
		`{"":""}`:                         {"", ""},
		`{"a":"x\ny\t\"\\\/"}`:            {"a", "x\ny\t\"\\/"},
		`{"\u0061":"\u00e9\ud83d\ude00"}`: {"a", "é😀"},
		`{"ключ":"значение"}`:             {"ключ", "значение"},
		`{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}`: {
			"traceparent",
			"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		},
	} {
		got, err := parseHeaders(nil, []byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var flat []string
		for _, h := range got {
			flat = append(flat, h.Key, string(h.Value))
		}
		if !slices.Equal(flat, want) {
			t.Errorf("%s: got %q, want %q", text, flat, want)
		}
	}
}

func TestParseHeadersRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		" ", "null", "[]", `"a"`, "1", "{", "}", "{]", `{"a"}`, `{"a":}`, `{"a":1}`, `{"a":null}`,
		`{"a":true}`, `{"a":["1"]}`, `{"a":{"b":"c"}}`,
		`{"a":"1"`, `{"a":"1",}`, `{,"a":"1"}`, `{"a":"1" "b":"2"}`, `{"a" "1"}`, `{a:"1"}`, `{'a':'1'}`,
		`{"a":"1"}x`, `{"a":"1"}{}`, `{}{}`, `{} x`,
		`{"a":"1","a":"2"}`, `{"a":"1","\u0061":"2"}`,
		`{"a":"`, `{"a":"\`, `{"a":"\"`, `{"a":"\x"}`, `{"a":"\u12"}`, `{"a":"\u123"}`,
		"{\"a\":\"\n\"}", "{\"a\":\"\x00\"}", "{\"a\x01\":\"\"}",
		"{\"a\":\"\xff\"}", "{\"a\":\"\\n\xff\"}", "{\"\xff\":\"\"}", "{\"\\n\xff\":\"\"}",
		"\ufeff{}", "{\u00a0}",
	} {
		if got, err := parseHeaders(nil, []byte(text)); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

// The destination is a piece of memory shared by many records: what was in it stays, and does not
// count as a double.
func TestParseHeadersAppends(t *testing.T) {
	t.Parallel()
	dst := []kgo.RecordHeader{{Key: "a", Value: []byte("of another record")}}
	dst, err := parseHeaders(dst, []byte(`{"a":"1"}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(dst) != 2 || string(dst[0].Value) != "of another record" || string(dst[1].Value) != "1" {
		t.Errorf("got %v", dst)
	}
}

// members reads an object of strings by encoding/json, in order, with what parseHeaders is stricter
// about.
func members(b []byte) (flat []string, ok bool) {
	if len(b) == 0 {
		return nil, true
	}
	if !json.Valid(b) || !utf8.Valid(b) {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(b))
	token := func() json.Token {
		t, err := d.Token()
		if err != nil {
			ok = false
		}
		return t
	}
	ok = true
	if token() != json.Delim('{') {
		return nil, false
	}
	seen := map[string]bool{}
	for ok && d.More() {
		key, _ := token().(string)
		value, isString := token().(string)
		if !isString || seen[key] {
			return nil, false
		}
		seen[key] = true
		flat = append(flat, key, value)
	}
	return flat, ok
}

func FuzzParseHeaders(f *testing.F) {
	for _, text := range []string{
		"", "{}", `{"a":"1","b":"\u00e9"}`, `{"a":"1","a":"2"}`, `{"a":1}`,
		` {"x" : "y" } `, "{\"a\":\"\\n\xff\"}", `{"\ud800":"\udc00"}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		got, err := parseHeaders(nil, b)
		want, ok := members(b)
		if (err == nil) != ok {
			t.Fatalf("%q: error %v, encoding/json says %v", b, err, ok)
		}
		if err != nil {
			return
		}
		var flat []string
		for _, h := range got {
			flat = append(flat, h.Key, string(h.Value))
		}
		if !slices.Equal(flat, want) {
			t.Fatalf("%q: got %q, encoding/json reads %q", b, flat, want)
		}
		if !bytes.Equal(b, before) {
			t.Fatalf("%q was written to", before)
		}
	})
}

func BenchmarkParseHeaders(b *testing.B) {
	for name, text := range map[string]string{
		"none": "{}",
		"trace": `{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",` +
			`"tenant":"acme"}`,
	} {
		b.Run(name, func(b *testing.B) {
			in := []byte(text)
			var dst []kgo.RecordHeader
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if dst, err = parseHeaders(dst[:0], in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
