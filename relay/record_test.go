package relay

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/sluice-outbox/sluice/outbox"
)

var update = flag.Bool("update", false, "write the golden files of this package anew")

// golden compares text with a file that people read.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it anew):\n--- got\n%s--- want\n%s", path, got, want)
	}
}

// show is a record as text.
func show(r *kgo.Record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "topic     %s\nkey       %q\ntimestamp %s\n", r.Topic, r.Key,
		r.Timestamp.UTC().Format(time.RFC3339Nano))
	for _, h := range r.Headers {
		fmt.Fprintf(&b, "header    %s: %q\n", h.Key, h.Value)
	}
	switch {
	case r.Value == nil:
		b.WriteString("value     null\n")
	case utf8.Valid(r.Value) && json.Valid(r.Value):
		fmt.Fprintf(&b, "value     %s\n", r.Value)
	default:
		fmt.Fprintf(&b, "value     %q\n", r.Value)
	}
	return b.String()
}

func TestRecordFormats(t *testing.T) {
	t.Parallel()
	type kind struct {
		name   string
		fields []byte
	}
	kinds := []kind{
		{"JSON without a content type", with("payload", `{"total": 1999, "note": "<b>&\u2028"}`)},
		{"JSON", with("payload", `[1, 2.50, 1e400]`, "contenttype", "application/json; charset=utf-8")},
		{"another JSON", with("payload", `"text"`, "contenttype", "application/vnd.shop.order+json")},
		{"said to be JSON", with("payload", `{"total"`, "contenttype", "application/json")},
		{"JSON with bytes that are not UTF-8", with("payload", "\"\xff\"")},
		{"text", with("payload", "Zürich\n<b>", "contenttype", "text/plain")},
		{"text in another encoding", with("payload", "Z\xfcrich", "contenttype",
			"text/plain; charset=iso-8859-1")},
		{"binary", with("payload", "\x00\x01\xfe", "contenttype", "application/octet-stream")},
		{"empty", with("payload", "", "contenttype", "application/json")},
		{
			"headers, key, topic and time",
			with("headers", `{"tenant":"acme",`+
				`"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",`+
				`"tracestate":"v=1","a":""}`,
				"key", "customer-7", "topic", "orders.v2", "time", "1700000000123", "contenttype", "text/plain",
				"payload", "x"),
		},
	}
	now := time.UnixMilli(1767319500000)
	for _, format := range []Format{FormatRaw, FormatCloudEventsBinary, FormatCloudEventsStructured} {
		t.Run(format.String(), func(t *testing.T) {
			t.Parallel()
			var text strings.Builder
			for _, k := range kinds {
				for _, tombstones := range []bool{false, true} {
					if tombstones && k.name != "empty" {
						continue
					}
					var e entry
					if err := e.decode(rawEntry{outbox.EntryID{MS: 1767319445678, Seq: 3}, k.fields}); err != nil {
						t.Fatal(err)
					}
					f := formatter{
						encoding: formats[format].encoding("sluice/orders"), tombstones: tombstones,
						prefix: "orders/3/", now: func() time.Time {
							return now
						},
					}
					topic := "outbox.event.order"
					if len(e.topic) > 0 {
						topic = string(e.topic)
					}
					var r kgo.Record
					if _, err := f.record(t.Context(), &r, &e, topic, nil); err != nil {
						t.Fatal(err)
					}
					name := k.name
					if tombstones {
						name += ", tombstones enabled"
					}
					fmt.Fprintf(&text, "# %s\n%s\n", name, show(&r))
					if format == FormatCloudEventsStructured && r.Value != nil && !json.Valid(r.Value) {
						t.Errorf("%s: the value is not JSON: %q", name, r.Value)
					}
				}
			}
			golden(t, "record-"+format.String()+".txt", text.String())
		})
	}
}

// Headers of many records share one piece of memory, and no record may reach into the next one's.
func TestRecordHeadersShareMemory(t *testing.T) {
	t.Parallel()
	f := formatter{encoding: rawFormat{}, prefix: "orders/3/", now: time.Now}
	var e entry
	headers := make([]kgo.RecordHeader, 0, 100)
	records := make([]kgo.Record, 3)
	for i := range records {
		if err := e.decode(rawEntry{
			outbox.EntryID{MS: 1, Seq: uint64(i)},
			with("headers", fmt.Sprintf(`{"n":"%d"}`, i)),
		}); err != nil {
			t.Fatal(err)
		}
		var err error
		if headers, err = f.record(t.Context(), &records[i], &e, "t", headers); err != nil {
			t.Fatal(err)
		}
	}
	records[0].Headers = append(records[0].Headers,
		kgo.RecordHeader{Key: "added", Value: []byte("by somebody")})
	for i := range records {
		if got, want := header(&records[i], "n"), fmt.Sprint(i); got != want {
			t.Errorf("record %d: header n is %q", i, got)
		}
		if got, want := header(&records[i], "sluice-entry"),
			fmt.Sprintf("orders/3/1-%d", i); got != want {
			t.Errorf("record %d: header sluice-entry is %q", i, got)
		}
	}
}

func TestRecordTimestamp(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_000_000)
	f := formatter{now: func() time.Time { return now }}
	for ms, want := range map[int64]int64{
		0: 0, 999_999: 999_999, 1_000_000: 1_000_000,
		1_000_001: 1_000_000, math.MaxInt64: 1_000_000,
	} {
		if got := f.timestamp(&entry{timeMS: ms}); got.UnixMilli() != want {
			t.Errorf("time %d: got %d, want %d", ms, got.UnixMilli(), want)
		}
	}
}

// encodedSize is the size of a batch with the record alone, encoded field by field.
func encodedSize(r *kgo.Record) int {
	bytes := func(b, value []byte, null bool) []byte {
		if null {
			return kbin.AppendVarint(b, -1)
		}
		return append(kbin.AppendVarint(b, int32(len(value))), value...)
	}
	body := []byte{0}                 // attributes
	body = kbin.AppendVarint(body, 0) // timestamp delta
	body = kbin.AppendVarint(body, 0) // offset delta
	body = bytes(body, r.Key, r.Key == nil)
	body = bytes(body, r.Value, r.Value == nil)
	body = kbin.AppendVarint(body, int32(len(r.Headers)))
	for _, h := range r.Headers {
		body = bytes(body, []byte(h.Key), false)
		body = bytes(body, h.Value, h.Value == nil)
	}
	return 8 + 4 + 4 + 1 + 4 + 2 + 4 + 8 + 8 + 8 + 2 + 4 + 4 +
		len(kbin.AppendVarint(nil, int32(len(body)))) + len(body)
}

func TestRecordSizeIsNotTooSmall(t *testing.T) {
	t.Parallel()
	const slack = 8 // what a producer may count beside the batch itself
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.Custom(func(t *rapid.T) []byte {
			if rapid.Bool().Draw(t, "null") {
				return nil
			}
			return make([]byte, rapid.OneOf(rapid.IntRange(0, 200), rapid.IntRange(8100, 8300),
				rapid.IntRange(1048400, 1048600)).Draw(t, "size"))
		})
		r := &kgo.Record{Key: data.Draw(t, "key"), Value: data.Draw(t, "value")}
		for range rapid.IntRange(0, 70).Draw(t, "headers") {
			r.Headers = append(r.Headers,
				kgo.RecordHeader{
					Key:   strings.Repeat("k", rapid.IntRange(0, 100).Draw(t, "name")),
					Value: make([]byte, rapid.IntRange(0, 100).Draw(t, "text")),
				})
		}
		got, want := recordSize(r), encodedSize(r)
		if got < want || got > want+slack {
			t.Fatalf("got %d, the batch has %d bytes", got, want)
		}
	})
}

// A record that recordSize finds small enough has to pass the producer, whose own count is not the
// broker's: it is sent to a topic that takes exactly as much.
func TestRecordSizeAgreesWithProducer(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		for i, size := range []int{2000, 9000, 700_000} {
			topic := fmt.Sprintf("limited-%d", i)
			r := &kgo.Record{
				Topic: topic, Key: []byte("k"), Value: make([]byte, size),
				Headers: []kgo.RecordHeader{{Key: "sluice-entry", Value: []byte("orders/0/1-1")}},
			}
			limit := recordSize(r)
			text := fmt.Sprint(limit)
			if err := l.cluster.CreateTopic(topic, 1,
				map[string]string{"max.message.bytes": text}); err != nil {
				t.Fatal(err)
			}
			cfg := l.config().withDefaults()
			client, err := newPublisher(&cfg, func(string) int32 { return int32(limit) })
			if err != nil {
				t.Fatal(err)
			}
			// Once before the client knows what the broker speaks, once after.
			for range 2 {
				again := *r
				if err := client.ProduceSync(t.Context(), &again).FirstErr(); err != nil {
					t.Errorf("a record of %d bytes into a topic that takes %d: %v", limit, limit, err)
				}
			}
			r.Value = append(r.Value, make([]byte, 16)...)
			if err := client.ProduceSync(t.Context(), r).FirstErr(); err == nil {
				t.Errorf("a record of %d bytes went into a topic that takes %d", recordSize(r), limit)
			} else if reason, ok := poisonReason(err); !ok || reason != ReasonTooLarge {
				t.Errorf("%v is not too_large", err)
			}
			client.Close()
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	for _, format := range []Format{FormatRaw, FormatCloudEventsBinary, FormatCloudEventsStructured} {
		b.Run(format.String(), func(b *testing.B) {
			f := formatter{
				encoding: formats[format].encoding("sluice/orders"), prefix: "orders/3/",
				now: time.Now,
			}
			var e entry
			if err := e.decode(rawEntry{
				outbox.EntryID{MS: 1700000000000, Seq: 1},
				with("payload", `{"text":"`+strings.Repeat("x", 180)+`"}`, "headers",
					`{"tenant":"acme"}`),
			}); err != nil {
				b.Fatal(err)
			}
			headers := make([]kgo.RecordHeader, 0, 16)
			var r kgo.Record
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.record(b.Context(), &r, &e, "outbox.event.order", headers); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
