package relay

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluice-outbox/sluice/outbox"
)

func TestPositionRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := Position{
			Delivery: rapid.SampledFrom([]Delivery{DeliveryExactlyOnce, DeliveryAtLeastOnce}).Draw(t,
				"delivery"),
			Entry:   outbox.EntryID{MS: rapid.Uint64().Draw(t, "ms"), Seq: rapid.Uint64().Draw(t, "seq")},
			Count:   rapid.Uint64().Draw(t, "count"),
			Missing: rapid.Uint64().Draw(t, "missing"),
			Relay:   rapid.String().Draw(t, "relay"),
			At:      time.UnixMilli(rapid.Int64Range(0, 1<<45).Draw(t, "at")),
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
	p := Position{
		Entry: outbox.EntryID{MS: 1767319445000, Seq: 3}, Count: 7,
		Fingerprint: "00000000000000ff", At: time.UnixMilli(1767319446000), Relay: "relay-1",
	}
	const want = `{"delivery":"exactly-once","entry":"1767319445000-3","count":7,` +
		`"fingerprint":"00000000000000ff","relay":"relay-1","at":1767319446000}`
	if b, err := json.Marshal(p); err != nil || string(b) != want {
		t.Errorf("got %s, %v\nwant %s", b, err, want)
	}
	p.Missing, p.Delivery, p.Fingerprint, p.Relay = 2, DeliveryAtLeastOnce, "", ""
	const wantOther = `{"delivery":"at-least-once","entry":"1767319445000-3","count":7,` +
		`"missing":2,"fingerprint":"","at":1767319446000}`
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
		if p, err := ParsePosition([]byte(record)); err == nil ||
			!strings.Contains(err.Error(), want) && want != "unexpected end" {
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
	p, err := ParsePosition([]byte(
		`{"v":2,"lane":"l","extra":[1],"position":{"delivery":"exactly-once","more":"things",` + entry +
			`}}`))
	if err != nil || p.Entry != (outbox.EntryID{MS: 5}) {
		t.Errorf("got %+v, %v", p, err)
	}
}
