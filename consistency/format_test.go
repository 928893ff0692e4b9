package consistency

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestFormats: records as the formats ask for them are what is expected, and each of them differs
// when its payload does.
func TestFormats(t *testing.T) {
	t.Parallel()
	const id, eventTimeText = "o/0/1700000000000-0", "2023-11-14T22:13:20.000Z"
	at := EntryID{MS: 1700000000000}
	headers := func(pairs ...string) (out []kgo.RecordHeader) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, kgo.RecordHeader{Key: pairs[i], Value: []byte(pairs[i+1])})
		}
		return append(out, kgo.RecordHeader{Key: "tenant", Value: []byte("x")},
			kgo.RecordHeader{Key: headerEntry, Value: []byte(id)})
	}
	structured := headers("content-type", "application/cloudevents+json; charset=UTF-8")
	for _, x := range []struct {
		name                          string
		format                        Format
		tombstones                    bool
		contentType, payload, another string
		record                        kgo.Record
	}{
		{
			"raw", Raw, false, "", "p", "q",
			kgo.Record{Value: []byte("p"), Headers: headers("id", "e", "type", "placed")},
		},
		{
			"raw with a content type", Raw, false, "text/plain", "p", "q",
			kgo.Record{
				Value:   []byte("p"),
				Headers: headers("id", "e", "type", "placed", "content-type", "text/plain"),
			},
		},
		{
			"raw, empty", Raw, false, "", "", "q",
			kgo.Record{Value: []byte{}, Headers: headers("id", "e", "type", "placed")},
		},
		{"tombstone", Raw, true, "", "", "q", kgo.Record{Headers: headers("id", "e", "type", "placed")}},
		{
			"binary", CloudEventsBinary, false, "", "p", "q",
			kgo.Record{
				Value: []byte("p"),
				Headers: headers("ce_specversion", "1.0", "ce_id", "e", "ce_source", "shop", "ce_type",
					"placed",
					"ce_subject", "42", "ce_time", eventTimeText, "ce_aggregatetype", "order"),
			},
		},
		{
			"structured JSON", CloudEventsStructured, false, "application/json", `{"a":1.0,"b":"<"}`,
			`{"a":1,"b":"<"}`,
			kgo.Record{Headers: structured, Value: []byte(
				`{"id":"e","specversion":"1.0", "source":"shop","type":"placed","subject":"42","time":"` +
					eventTimeText + `","aggregatetype":"order","datacontenttype":"application/json",` +
					`"data":{"b":"\u003c","a":1.0}}`)},
		},
		{
			"structured text", CloudEventsStructured, false, "text/plain", "hé", "h",
			kgo.Record{Headers: structured, Value: []byte(
				`{"id":"e","specversion":"1.0","source":"shop","type":"placed","subject":"42","time":"` +
					eventTimeText + `","aggregatetype":"order","datacontenttype":"text/plain",` +
					`"data":"h\u00e9"}`)},
		},
		{
			"structured bytes", CloudEventsStructured, false, "", "\xff", "\xfe",
			kgo.Record{Headers: structured, Value: []byte(
				`{"id":"e","specversion":"1.0","source":"shop","type":"placed","subject":"42","time":"` +
					eventTimeText + `","aggregatetype":"order","data_base64":"/w=="}`)},
		},
	} {
		t.Run(x.name, func(t *testing.T) {
			sh := shape{format: x.format, source: []byte("shop"), tombstones: x.tombstones}
			fields := func(payload string) []string {
				f := []string{
					"id", "e", "aggregatetype", "order", "aggregateid", "42", "type", "placed",
					"payload", payload, "headers", `{"tenant":"x"}`,
				}
				if x.contentType != "" {
					f = append(f, "contenttype", x.contentType)
				}
				return f
			}
			h := hasher{}
			expect := func(payload string) hash128 {
				var e entry
				e.decode(raw(at, fields(payload)...))
				im := image{topic: "t", partition: 1}
				sh.expect(&im, &e)
				return h.sum(&im)
			}
			x.record.Topic, x.record.Partition, x.record.Key = "t", 1, []byte("42")
			var im image
			sh.observe(&im, &x.record, 0, at)
			if got := h.sum(&im); got != expect(x.payload) {
				t.Errorf("not what the entry says: %+v", im)
			} else if got == expect(x.another) {
				t.Error("another payload has the same hash")
			}

			// What a repair sends is what is expected, too.
			repaired := &expecter{shape: sh, image: image{topic: "t", partition: 1}}
			repaired.entry.decode(raw(at, fields(x.payload)...))
			repaired.shape.expect(&repaired.image, &repaired.entry)
			sent := (&collector{settings: settings{outbox: "o"}}).recordOf(repaired)
			if sh.observe(&im, sent, 0, at); h.sum(&im) != expect(x.payload) {
				t.Errorf("a repair sends something else: %+v", im)
			}
			if last := sent.Headers[len(sent.Headers)-1]; last.Key != headerEntry ||
				string(last.Value) != id {
				t.Errorf("a repair does not name the entry: %v", last)
			}
		})
	}
}
