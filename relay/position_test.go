package relay

import (
	"cmp"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var drawID = rapid.Custom(func(t *rapid.T) EntryID {
	number := rapid.OneOf(rapid.Uint64Range(0, 3), rapid.Uint64(), rapid.Just(uint64(math.MaxUint64)))
	return EntryID{number.Draw(t, "ms"), number.Draw(t, "seq")}
})

func TestEntryIDOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawID.Draw(t, "a"), drawID.Draw(t, "b")
		want := cmp.Compare(a.MS, b.MS)
		if want == 0 {
			want = cmp.Compare(a.Seq, b.Seq)
		}
		if got := a.Compare(b); got != want {
			t.Fatalf("%s against %s: got %d, want %d", a, b, got, want)
		}
		if got, err := ParseEntryID(a.String()); err != nil || got != a {
			t.Fatalf("%s: got %s, %v", a, got, err)
		}
		if a.IsZero() != (a.Compare(EntryID{}) == 0) {
			t.Fatalf("%s: IsZero is %v", a, a.IsZero())
		}
	})
}

// before is the neighbour: below, with nothing between.
func TestEntryIDBefore(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		id, other := drawID.Draw(t, "id"), drawID.Draw(t, "other")
		before := id.before()
		if id.IsZero() {
			if !before.IsZero() {
				t.Fatalf("before 0-0 is %s", before)
			}
			return
		}
		if before.Compare(id) >= 0 {
			t.Fatalf("%s is not below %s", before, id)
		}
		if other.Compare(before) > 0 && other.Compare(id) < 0 {
			t.Fatalf("%s is between %s and %s", other, before, id)
		}
	})
	if got := (EntryID{5, 0}).before(); got != (EntryID{4, math.MaxUint64}) {
		t.Errorf("before 5-0 is %s", got)
	}
}

func TestParseEntryID(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]EntryID{
		"0-0": {}, "5-7": {5, 7}, "1700000000000-0": {1700000000000, 0}, "18446744073709551615-18446744073709551615": {math.MaxUint64, math.MaxUint64},
		"5": {5, 0}, "0": {}, // as Redis takes them
	} {
		if got, err := ParseEntryID(text); err != nil || got != want {
			t.Errorf("%q: got %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-", "5-", "-7", "5-7-9", "5 -7", "+5-7", "a-1", "1-a", "*", "$", "(5-7", "18446744073709551616-0", "0x5-1"} {
		if got, err := ParseEntryID(text); err == nil {
			t.Errorf("%q: got %s, want an error", text, got)
		}
	}
}

func TestPositionRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := Position{
			Delivery: rapid.SampledFrom([]Delivery{ExactlyOnce, AtLeastOnce}).Draw(t, "delivery"),
			Entry:    drawID.Draw(t, "entry"),
			Count:    rapid.Uint64().Draw(t, "count"),
			Missing:  rapid.Uint64().Draw(t, "missing"),
			Relay:    rapid.String().Draw(t, "relay"),
			At:       time.UnixMilli(rapid.Int64Range(0, 1<<45).Draw(t, "at")),
		}
		want.Fingerprint = formatFingerprint(rapid.Uint64().Draw(t, "fingerprint"))
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Position
		if err := json.Unmarshal(b, &got); err != nil || got != want {
			t.Fatalf("%s: got %+v, %v, want %+v", b, got, err, want)
		}
	})
}

// The text that other versions and other tools read.
func TestPositionText(t *testing.T) {
	t.Parallel()
	p := Position{Entry: EntryID{1767319445000, 3}, Count: 7, Fingerprint: "00000000000000ff", At: time.UnixMilli(1767319446000), Relay: "relay-1"}
	const want = `{"delivery":"exactly-once","entry":"1767319445000-3","count":7,"fingerprint":"00000000000000ff","relay":"relay-1","at":1767319446000}`
	if b, err := json.Marshal(p); err != nil || string(b) != want {
		t.Errorf("got %s, %v\nwant %s", b, err, want)
	}
	p.Missing, p.Delivery, p.Fingerprint, p.Relay = 2, AtLeastOnce, "", ""
	const wantOther = `{"delivery":"at-least-once","entry":"1767319445000-3","count":7,"missing":2,"fingerprint":"","at":1767319446000}`
	if b, err := json.Marshal(p); err != nil || string(b) != wantOther {
		t.Errorf("got %s, %v\nwant %s", b, err, wantOther)
	}
}

func TestPositionRefuses(t *testing.T) {
	t.Parallel()
	const entry = `"entry":"5-0","count":1,"fingerprint":""`
	for text, want := range map[string]string{
		`{` + entry + `}`:                                                       "delivery",
		`{"delivery":"twice",` + entry + `}`:                                    "twice",
		`{"delivery":"exactly-once","count":1}`:                                 "no entry",
		`{"delivery":"exactly-once","entry":null}`:                              "no entry",
		`{"delivery":"exactly-once","entry":"5"`:                                "unexpected end",
		`{"delivery":"exactly-once","entry":"x","fingerprint":""}`:              "entry ID",
		`{"delivery":"exactly-once","entry":"5-0","fingerprint":"xyz"}`:         "fingerprint",
		`{"delivery":"exactly-once","entry":"5-0","fingerprint":"","count":-1}`: "count",
		`[]`:   "position",
		`null`: "delivery",
		``:     "unexpected end",
	} {
		var p Position
		if err := json.Unmarshal([]byte(text), &p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", text, err, want)
		}
		if text == "" {
			continue
		}
		record := `{"v":2,"lane":"l","position":` + text + `}`
		if p, err := ParsePosition([]byte(record)); err == nil || !strings.Contains(err.Error(), want) && want != "unexpected end" {
			t.Errorf("%s: got %+v, %v, want an error with %q", record, p, err, want)
		}
	}
	for text, want := range map[string]string{
		`{"v":1,"delivery":"exactly-once",` + entry + `}`:              "version 1",
		`{"v":3,"position":{"delivery":"exactly-once",` + entry + `}}`: "version 3",
		`{"position":{"delivery":"exactly-once",` + entry + `}}`:       "version 0",
		`{"v":2,"lane":"l"}`:              "no position",
		`{"v":2,"lane":"l","position":5}`: "position",
		`[]`:                              "position record",
		`null`:                            "version 0",
		``:                                "unexpected end",
	} {
		if p, err := ParsePosition([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %+v, %v, want an error with %q", text, p, err, want)
		}
	}
	// A newer relay may say more; that is no reason to stop.
	p, err := ParsePosition([]byte(`{"v":2,"lane":"l","extra":[1],"position":{"delivery":"exactly-once","more":"things",` + entry + `}}`))
	if err != nil || p.Entry != (EntryID{5, 0}) {
		t.Errorf("got %+v, %v", p, err)
	}
}
