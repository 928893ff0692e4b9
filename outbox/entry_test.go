package outbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestEntryFieldsOrder(t *testing.T) {
	minimal := Event{ID: "i", AggregateType: "order", AggregateID: "42", Type: "Placed"}
	full := minimal
	full.Payload, full.Headers = []byte("p"), map[string]string{"b": "2", "a": "1"}
	full.Topic, full.Key, full.ContentType = "t", "k", "text/plain"
	full.Time = time.UnixMilli(1700000000123)
	for _, c := range []struct {
		event Event
		more  int
		want  string
	}{
		{minimal, 0, "[id i aggregatetype order aggregateid 42 type Placed payload  headers {}]"},
		{full, 2, `[id i aggregatetype order aggregateid 42 type Placed payload p ` +
			`headers {"a":"1","b":"2"} topic t key k contenttype text/plain time 1700000000123 more 2]`},
	} {
		if got := fmt.Sprintf("%s", EntryFields(c.event, c.more)); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// TestHeadersAreJSON checks the hand-written encoder against encoding/json.
func TestHeadersAreJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		headers := rapid.MapOfN(rapid.String(), rapid.String(), 0, 8).Draw(t, "headers")
		encoded := encodeHeaders(headers, trace{})

		got := map[string]string{}
		if err := json.Unmarshal([]byte(encoded), &got); err != nil {
			t.Fatalf("%q: %v", encoded, err)
		}
		if !maps.Equal(got, headers) {
			t.Fatalf("%q decodes to %q, want %q", encoded, got, headers)
		}
		if names := namesInOrder(encoded); !slices.IsSorted(names) {
			t.Fatalf("names of %s are not sorted", encoded)
		}
	})
}

func namesInOrder(object string) (names []string) {
	d := json.NewDecoder(bytes.NewReader([]byte(object)))
	for depth := 0; ; {
		token, err := d.Token()
		if err != nil {
			return names
		}
		if text, ok := token.(string); ok {
			if depth++; depth%2 == 1 {
				names = append(names, text)
			}
		}
	}
}

func FuzzAppendJSON(f *testing.F) {
	for _, s := range []string{
		"", "plain", "\"\\\n\r\t\x00\x1f\x7f", "é\u2028\U0001F600", "\xff\xfe",
		"a\xc3",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := appendJSON(nil, s)
		var got, want string
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		std, _ := json.Marshal(s)
		if err := json.Unmarshal(std, &want); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Fatalf("%q decodes to %q, want %q", out, got, want)
		}
	})
}

func TestHeadersAndTrace(t *testing.T) {
	tr := trace{parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", state: "a=1"}
	for name, c := range map[string]struct {
		headers map[string]string
		trace   trace
		want    string
	}{
		"none":       {nil, trace{}, `{}`},
		"trace only": {nil, tr, `{"traceparent":"` + tr.parent + `","tracestate":"a=1"}`},
		"no state":   {nil, trace{parent: tr.parent}, `{"traceparent":"` + tr.parent + `"}`},
		"sorted in": {
			map[string]string{"z": "1", "a": "2"},
			tr,
			`{"a":"2","traceparent":"` + tr.parent + `","tracestate":"a=1","z":"1"}`,
		},
		"own trace wins": {map[string]string{"traceparent": "mine"}, tr, `{"traceparent":"mine"}`},
		"stray state": {
			map[string]string{"tracestate": "b=2"},
			trace{parent: tr.parent},
			`{"traceparent":"` + tr.parent + `"}`,
		},
	} {
		if got := encodeHeaders(c.headers, c.trace); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	payload := bytes.Repeat([]byte("x"), 200)
	plain := Event{
		ID: "0197f3a2-7c1e-7b1a-9f3e-2d1c0b9a8f7e", AggregateType: "order",
		AggregateID: "42", Type: "OrderPlaced", Payload: payload,
	}
	headers := plain
	headers.Headers = map[string]string{
		"tenant": "a", "source": "shop",
		"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	for name, e := range map[string]Event{"plain": plain, "headers": headers} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				EntryFields(e, 0)
			}
		})
	}
}
