package inbox

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kgo"
)

func header(name, value string) kgo.RecordHeader {
	return kgo.RecordHeader{Key: name, Value: []byte(value)}
}

// The three formats of docs/wire-format.md say the same.
func TestUnfold(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	common := []kgo.RecordHeader{
		header("tenant", "t1"),
		header("sluice-entry", "orders/3/1767319445000-3"),
	}
	structured := func(more string) []byte {
		return []byte(`{"specversion":"1.0","id":"e1","source":"sluice/orders",` +
			`"type":"OrderPlaced","subject":"42","time":"2026-01-02T03:04:05.000Z",` +
			`"aggregatetype":"order"` + more + `}`)
	}
	event := Record{
		ID: "e1", Type: "OrderPlaced", Entry: "orders/3/1767319445000-3", Key: "42", HasKey: true,
		Timestamp: at, Time: at, Value: []byte(`{"n":1}`),
	}
	cloud := event
	cloud.AggregateType, cloud.AggregateID, cloud.Source = "order", "42", "sluice/orders"
	with := func(r Record, contentType string, value []byte) Record {
		r.ContentType, r.Value = contentType, value
		return r
	}
	for name, c := range map[string]struct {
		record kgo.Record
		want   Record
	}{
		"raw": {
			kgo.Record{
				Value: []byte(`{"n":1}`),
				Headers: append([]kgo.RecordHeader{
					header("id", "e1"), header("type", "OrderPlaced"),
					header("content-type", "application/json"),
				}, common...),
			},
			with(event, "application/json", []byte(`{"n":1}`)),
		},
		"binary": {
			kgo.Record{Value: []byte(`{"n":1}`), Headers: append([]kgo.RecordHeader{
				header("ce_specversion", "1.0"), header("ce_id", "e1"), header("ce_source", "sluice/orders"),
				header("ce_type", "OrderPlaced"), header("ce_subject", "42"),
				header("ce_time", "2026-01-02T03:04:05.000Z"), header("ce_aggregatetype", "order"),
			}, common...)},
			cloud,
		},
		"structured, JSON": {
			kgo.Record{
				Value: structured(`,"data":{"n":1}`),
				Headers: append([]kgo.RecordHeader{header("content-type",
					"application/cloudevents+json; charset=UTF-8")}, common...),
			},
			cloud,
		},
		"structured, text": {
			kgo.Record{
				Value: structured(`,"datacontenttype":"text/plain","data":"a \"b\""`),
				Headers: append([]kgo.RecordHeader{header("content-type", "application/cloudevents+json")},
					common...),
			},
			with(cloud, "text/plain", []byte(`a "b"`)),
		},
		"structured, a JSON string stays JSON": {
			kgo.Record{
				Value: structured(`,"datacontenttype":"application/json","data":"a"`),
				Headers: append([]kgo.RecordHeader{header("content-type", "Application/CloudEvents+json")},
					common...),
			},
			with(cloud, "application/json", []byte(`"a"`)),
		},
		"structured, bytes": {
			kgo.Record{
				Value: structured(`,"datacontenttype":"image/png","data_base64":"AAH/"`),
				Headers: append([]kgo.RecordHeader{header("content-type", "application/cloudevents+json")},
					common...),
			},
			with(cloud, "image/png", []byte{0, 1, 255}),
		},
		"structured, without data": {
			kgo.Record{
				Value: structured(""),
				Headers: append([]kgo.RecordHeader{header("content-type", "application/cloudevents+json")},
					common...),
			},
			with(cloud, "", nil),
		},
		"a tombstone": {
			kgo.Record{Headers: append([]kgo.RecordHeader{header("id", "e1"), header("type", "OrderPlaced")},
				common...)},
			with(event, "", nil),
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.record.Key, c.record.Timestamp = []byte("42"), at
			got, err := unfold(&c.record)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.IgnoreFields(Record{}, "Headers")); diff != "" {
				t.Error(diff)
			}
			if tenant, ok := got.Header("tenant"); tenant != "t1" || !ok ||
				len(got.Headers) != len(c.record.Headers) {
				t.Errorf("headers %v", got.Headers)
			}
			if got.Tombstone() != (c.want.Value == nil) {
				t.Error("Tombstone")
			}
		})
	}
}

func TestUnfoldRefuses(t *testing.T) {
	const sound = `{"specversion":"1.0","id":"1","source":"s","type":"t"`
	for value, says := range map[string]string{
		"":     "not a CloudEvent",
		"[]":   "not a CloudEvent",
		"{":    "not a CloudEvent",
		"null": "specversion",
		`{}`:   "specversion",
		`{"specversion":"0.3","id":"1","source":"s","type":"t"}`: "specversion",
		`{"specversion":"1.0","id":"","source":"s","type":"t"}`:  "without id",
		sound + `,"data":1,"data_base64":"AA=="}`:                "both",
		sound + `,"data_base64":"!"}`:                            "not a CloudEvent",
	} {
		_, err := unfold(&kgo.Record{
			Value:   []byte(value),
			Headers: []kgo.RecordHeader{header("content-type", "application/cloudevents+json")},
		})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", value, err, says)
		}
	}
}

func TestLetterCodec(t *testing.T) {
	for name, r := range map[string]kgo.Record{
		"plain": {
			Topic: "t", Partition: 3, Offset: 7, Key: []byte("k"), Value: []byte("v\r\n$5"),
			Timestamp: time.UnixMilli(5),
			Headers:   []kgo.RecordHeader{header("a", "1"), header("a", "2"), header("", "")},
		},
		"nulls":        {Topic: "t", Timestamp: time.UnixMilli(0)},
		"empty values": {Topic: "t", Key: []byte{}, Value: []byte{}, Timestamp: time.UnixMilli(0)},
		"large": {
			Topic: "t", Value: bytes.Repeat([]byte("x"), 3*letterChunk/2),
			Timestamp: time.UnixMilli(1),
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := &letter{record: &r, reason: Failed, detail: "because\nof this", parked: true}
			id := TopicID{1, 2}
			b := &letterbox{inbox: "shipping", topic: "dlq"}
			found := map[string]*Letter{}
			written := l.records("shipping", "dlq", id)
			for range 2 { // a repetition is the same letter
				for _, k := range written {
					b.collect(found, k, func(*Letter) bool { return true })
				}
			}
			if len(found) != 1 {
				t.Fatalf("%d letters", len(found))
			}
			for _, got := range found {
				if got.Reason != Failed || got.Detail != "because of this" || !got.Parked ||
					got.TopicID != id || got.chunks != len(written) || len(got.at) != len(written) {
					t.Errorf("%+v", got)
				}
				back, err := got.load()
				if err != nil {
					t.Fatal(err)
				}
				r.LeaderEpoch = -1
				if diff := cmp.Diff(&r, back, cmpopts.IgnoreUnexported(kgo.Record{}),
					cmpopts.EquateComparable(kgo.RecordAttrs{}), cmpopts.EquateEmpty()); diff != "" ||
					(back.Key == nil) != (r.Key == nil) || (back.Value == nil) != (r.Value == nil) {
					t.Error(diff)
				}
			}
			for _, k := range written {
				b.collect(found, &kgo.Record{Key: k.Key}, func(*Letter) bool { return true })
			}
			if len(found) != 0 {
				t.Errorf("%d letters after the tombstones", len(found))
			}
		})
	}
}

func TestForeignRecordsAreNoLetters(t *testing.T) {
	id := strings.Repeat("0", 32)
	for _, key := range []string{
		"", "orders/1/7-0", "inbox/shipping/t/" + id + "/0", "inbox/shipping/t/" + id + "/0/x",
		"inbox/shipping/t/" + id + "/-1/0", "inbox/shipping/t/" + id + "/0/01",
		"inbox/shipping/t/xyz/0/1", "inbox/shipping/t/" + id + "/0/1#0",
		"inbox/shipping/t/" + id + "/0/1#x", "inbox/shipping/t/" + id + "/99999999999/1",
	} {
		if _, _, _, ok := parseLetterKey([]byte(key)); ok {
			t.Errorf("%q was accepted", key)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(encodeRecord(&kgo.Record{
		Topic: "t", Key: []byte("k"), Value: []byte("v"),
		Headers: []kgo.RecordHeader{header("h", "v")},
	}))
	f.Add([]byte("*2\r\n$5\r\ntopic\r\n$99999999999\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		again, err := decodeRecord(encodeRecord(r))
		if err != nil || again.Topic != r.Topic || again.Offset != r.Offset ||
			!bytes.Equal(again.Value, r.Value) || len(again.Headers) != len(r.Headers) {
			t.Errorf("%q became %v, then %v (%v)", b, r, again, err)
		}
	})
}

func TestPosition(t *testing.T) {
	p := Position{
		Next: 7, Topic: TopicID{1}, Epoch: 3, Count: 5, Letters: 1, Instance: "i1",
		At: time.Unix(1, 0).UTC(),
	}
	got, err := ParsePosition(p.encode())
	if err != nil || got != p {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{
		"", "7", "{}", `{"v":1}`, `{"v":2,"next":1}`, `{"v":1,"next":-1}`,
		`{"v":1,"next":"1"}`, `{"v":1,"next":1,"topic":"01"}`,
	} {
		if _, err := ParsePosition(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
