package delivery

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// The texts that other versions and other tools read.
func TestRecordTexts(t *testing.T) {
	t.Parallel()
	p := Position{
		V: RecordVersion, Lane: "l1", Records: 3, Wrote: Places{"b": {0, 7}, "a": {2}},
		Before: Places{"c": {}}, Position: json.RawMessage(`{"entry":"5-0"}`),
	}
	const want = `{"v":2,"lane":"l1","records":3,"wrote":{"a":[2],"b":[0,7]},` +
		`"before":{"c":[]},"position":{"entry":"5-0"}}`
	if b, err := json.Marshal(p); err != nil || string(b) != want {
		t.Errorf("got %s, %v\nwant %s", b, err, want)
	}
	k := keys{"orders", "positions", 3}
	for name, c := range map[string]struct {
		r          *kgo.Record
		key, value string
	}{
		"position": {k.position([]byte("p")), "orders/3", "p"},
		"claim": {
			k.claim("l1", "relay-1", time.UnixMilli(1767319446000)), "orders/3/l1",
			`{"v":2,"relay":"relay-1","at":1767319446000}`,
		},
	} {
		if c.r.Topic != "positions" || c.r.Partition != 3 || string(c.r.Key) != c.key ||
			string(c.r.Value) != c.value {
			t.Errorf("%s: %+v", name, c.r)
		}
	}
	for name, r := range map[string]*kgo.Record{
		"tombstone":  k.tombstone("l1"),
		"withdrawal": k.withdrawal("l1", "l2"),
	} {
		if r.Topic != "positions" || r.Partition != 3 || string(r.Key) != "orders/3/l1" ||
			r.Value != nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	k := keys{"orders", "positions", 3}
	now := time.Unix(0, 0)
	position, err := json.Marshal(Position{
		V: RecordVersion, Lane: "l1",
		Position: json.RawMessage("{}"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		r            *kgo.Record
		position     bool
		lane, author string
	}{
		"position":                    {k.position(position), true, "", "l1"},
		"deleted position":            {k.position(nil), true, "", ""},
		"position of another version": {k.position([]byte(`{"v":1,"entry":"5-0"}`)), true, "", ""},
		"claim":                       {k.claim("l1", "", now), false, "l1", "l1"},
		"release":                     {k.tombstone("l1"), false, "l1", "l1"},
		"withdrawal":                  {k.withdrawal("l1", "l2"), false, "l1", "l2"},
		"another shard's": {
			keys{"orders", "positions", 33}.claim("l1", "", now), false, "",
			"",
		},
		"another outbox's": {
			keys{"orders2", "positions", 3}.claim("l1", "", now), false, "",
			"",
		},
		"somebody's": {
			&kgo.Record{Key: []byte("orders/3x"), Value: []byte("x")}, false,
			"", "",
		},
		"nobody's": {&kgo.Record{}, false, "", ""},
	} {
		if got := k.isPosition(c.r); got != c.position {
			t.Errorf("%s: is a position: %v", name, got)
		}
		if got := k.lane(c.r); got != c.lane {
			t.Errorf("%s: names lane %q, want %q", name, got, c.lane)
		}
		if got := k.author(c.r); got != c.author {
			t.Errorf("%s: was written by %q, want %q", name, got, c.author)
		}
	}
	if a, b := newLaneName(), newLaneName(); a == b || strings.Trim(a, "0123456789abcdef") != "" {
		t.Errorf("lanes %s and %s", a, b)
	}
}

func TestParsePosition(t *testing.T) {
	t.Parallel()
	p, err := ParsePosition([]byte(
		`{"v":2,"lane":"l","records":4,"wrote":{"t":[1,2]},` +
			`"before":{"u":[]},"more":"things","position":{"entry":"5-0","x":1}}`))
	if err != nil || p.Lane != "l" || p.Records != 4 || !p.Wrote.has(place{"t", 2}) ||
		!p.Before.has(place{"u", 9}) || string(p.Position) != `{"entry":"5-0","x":1}` {
		t.Errorf("got %+v, %v", p, err)
	}
	for text, want := range map[string]string{
		`{"v":1,"delivery":"exactly-once","entry":"5-0"}`: "version 1",
		`{"v":3,"position":{}}`:                           "version 3",
		`{}`:                                              "version 0", `null`: "version 0",
		`{"v":2,"lane":"l"}`: "no position",
		``:                   "unexpected end", `{"v":2`: "unexpected end", `[]`: "position record",
		`{"v":"2"}`: "position record", `{"v":2,"wrote":{"t":["x"]},"position":{}}`: "position record",
		`{"v":2,"wrote":{"t":[4294967296]},"position":{}}`: "position record",
	} {
		if p, err := ParsePosition([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %+v, %v, want an error with %q", text, p, err, want)
		}
	}
}

// Whatever the topic holds is refused, or is what is written again.
func FuzzParsePosition(f *testing.F) {
	for _, seed := range []string{
		`{"v":2,"lane":"l1","records":3,"wrote":{"a":[2],"b":[0,7]},` +
			`"before":{"c":[]},"position":{"entry":"5-0"}}`,
		`{"v":1,"delivery":"exactly-once","entry":"5-0"}`, `{"v":2,"position":7}`,
		`{"v":2,"position":null}`, `{}`, `[]`, ``, "\x00", `{"v":2,"wrote":null,"position":""}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		p, err := ParsePosition(value)
		if err != nil {
			return
		}
		if p.V != RecordVersion || len(p.Position) == 0 || !json.Valid(p.Position) {
			t.Fatalf("accepted: %+v", p)
		}
		again, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		q, err := ParsePosition(again)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		same := func(a, b []int32) bool { return slices.Equal(a, b) }
		var compact bytes.Buffer
		if err := json.Compact(&compact, p.Position); err != nil {
			t.Fatal(err)
		}
		var escaped bytes.Buffer
		json.HTMLEscape(&escaped, compact.Bytes()) // as it is written
		if q.Lane != p.Lane || q.Records != p.Records || !maps.EqualFunc(q.Wrote, p.Wrote, same) ||
			!maps.EqualFunc(q.Before, p.Before, same) || !bytes.Equal(q.Position, escaped.Bytes()) {
			t.Fatalf("got %+v, want %+v", q, p)
		}
	})
}

func TestPlaces(t *testing.T) {
	t.Parallel()
	if got := places(nil); got != nil {
		t.Errorf("of nothing: %v", got)
	}
	set := map[place]int{{"b", 7}: 1, {"b", 0}: 4, {"a", 2}: 1}
	got := places(set)
	if !maps.EqualFunc(got, Places{"a": {2}, "b": {0, 7}}, func(a, b []int32) bool {
		return slices.Equal(a, b)
	}) || !slices.Equal(got.topics(), []string{"a", "b"}) {
		t.Errorf("got %v", got)
	}
	// Very many are listed by topic: a position record stays small.
	for i := range int32(maxPlaces) {
		set[place{"c", i}] = 1
	}
	got = places(set)
	if b, err := json.Marshal(got); err != nil || len(b) > 100 {
		t.Errorf("%d places are written as %s, %v", len(set), b, err)
	}
	for _, at := range []place{{"a", 2}, {"a", 999}, {"c", 5}, {"c", 100_000}} {
		if !got.has(at) {
			t.Errorf("%v is not among %v", at, got)
		}
	}
	if got.has(place{"d", 0}) {
		t.Error("a topic that was not written to is among them")
	}
	if Places(nil).has(place{"a", 0}) || len(Places(nil).topics()) != 0 {
		t.Error("no places are some")
	}
}

// places and merge against sets; a topic in too many partitions may be taken for all of them, never
// for fewer.
func TestPlacesAgainstSets(t *testing.T) {
	t.Parallel()
	drawPlace := rapid.Custom(func(t *rapid.T) place {
		return place{
			"t" + strconv.Itoa(rapid.IntRange(0, 3).Draw(t, "topic")),
			rapid.Int32Range(0, 5).Draw(t, "partition"),
		}
	})
	drawPlaces := rapid.Custom(func(t *rapid.T) Places {
		set := map[place]int{}
		for _, at := range rapid.SliceOfN(drawPlace, 0, 10).Draw(t, "places") {
			set[at]++
		}
		p := places(set)
		for topic := range p {
			if rapid.IntRange(0, 3).Draw(t, "all") == 0 {
				p[topic] = []int32{}
			}
		}
		return p
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawPlaces.Draw(t, "a"), drawPlaces.Draw(t, "b")
		before, err := json.Marshal([]Places{a, b})
		if err != nil {
			t.Fatal(err)
		}
		m := a.merge(b)
		for topic := range 5 {
			for partition := range int32(7) {
				at := place{"t" + strconv.Itoa(topic), partition}
				if want := a.has(at) || b.has(at); m.has(at) != want {
					t.Fatalf("%v in %v: %v, want %v", at, m, m.has(at), want)
				}
			}
		}
		if after, err := json.Marshal([]Places{a, b}); err != nil || !bytes.Equal(before, after) {
			t.Fatalf("merge has changed %s to %s, %v", before, after, err)
		}
		for _, partitions := range m {
			if !slices.IsSorted(partitions) ||
				len(slices.Compact(slices.Clone(partitions))) != len(partitions) {
				t.Fatalf("not in the form that is always the same: %v", m)
			}
		}
		written, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var read Places
		if err := json.Unmarshal(written, &read); err != nil {
			t.Fatal(err)
		}
		for topic := range m {
			if _, ok := read[topic]; !ok || (len(m[topic]) == 0) != (len(read[topic]) == 0) {
				t.Fatalf("%s is read as %v", written, read)
			}
		}
	})
}
