package deadletter

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func record(key string, value []byte, headers ...string) *kgo.Record {
	r := &kgo.Record{Key: []byte(key), Value: value}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: headers[i], Value: []byte(headers[i+1])})
	}
	return r
}

func TestIndex(t *testing.T) {
	x := newIndex("orders")
	for _, r := range []*kgo.Record{
		record("orders/1/7-0", resp("id", "e7", "aggregatetype", "or\x1bder", "type",
			strings.Repeat("t", 200)), "sluice-reason", "no_route", "sluice-detail", "d", "sluice-topic",
			"t"),
		record("orders/0/3-1", []byte("*2\r\n$2\r\nid\r\n$9\r\n"), "sluice-reason", "too_large",
			"sluice-chunks", "3"),
		record("orders/0/3-1#1", []byte("second"), "sluice-chunks", "3"),
		record("orders/0/4-0", resp("id", "gone")),
		record("orders/0/4-0", nil),
		record("orders/0/5-0", nil), // a tombstone of something compacted away
		record("other/0/4-0", resp("id", "of another outbox")),
		record("orders/x/4-0", resp("id", "foreign")),
		record("orders/0/4", resp("id", "foreign")),
		record("orders/0/4-0#0", resp("id", "foreign")),
		record("", resp("id", "foreign")),
	} {
		x.add(r)
	}
	all := x.Letters()
	if len(all) != 2 || x.Foreign != 4 {
		t.Fatalf("got %s and %d foreign records", refs(all), x.Foreign)
	}
	if l := all[0]; l.Ref() != "0/3-1" || l.Missing != 1 || l.Bytes != 16+6 ||
		l.Reason != "too_large" {
		t.Errorf("chunked: got %+v", l)
	}
	if l := all[1]; l.Ref() != "1/7-0" || l.EventID != "e7" || l.AggregateType != "or.der" ||
		len(l.Type) != 80 || l.Reason != "no_route" || l.Detail != "d" || l.Topic != "t" ||
		l.Missing != 0 {
		t.Errorf("got %+v", l)
	}
}

func TestSelect(t *testing.T) {
	x := newIndex("orders")
	for _, r := range []*kgo.Record{
		record("orders/0/1-0", resp(), "sluice-reason", "no_route"),
		record("orders/1/1-0", resp(), "sluice-reason", "too_large"),
		record("orders/1/2-0", resp(), "sluice-reason", "too_large"),
	} {
		x.add(r)
	}
	all := x.Letters()
	for _, tt := range []struct {
		s    Selection
		want string // refs, or an error's part
	}{
		{Selection{Shard: -1}, "0/1-0 1/1-0 1/2-0"},
		{Selection{Shard: 1}, "1/1-0 1/2-0"},
		{Selection{Shard: -1, Reason: "too_large"}, "1/1-0 1/2-0"},
		{Selection{Shard: 0, Reason: "too_large"}, ""},
		{Selection{Shard: -1, Refs: []string{"2-0", "1/2-0", "orders/0/1-0"}}, "1/2-0 0/1-0"},
		{
			Selection{Shard: -1, Refs: []string{"1-0"}},
			"error: 1-0 is in several shards: name it as 0/1-0 or 1/1-0",
		},
		{Selection{Shard: 1, Refs: []string{"1-0"}}, "1/1-0"},
		{Selection{Shard: -1, Refs: []string{"9-0"}}, "error: no dead letter 9-0"},
	} {
		chosen, err := Select(all, tt.s)
		refs := make([]string, len(chosen))
		for i, l := range chosen {
			refs[i] = l.Ref()
		}
		got := strings.Join(refs, " ")
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != tt.want {
			t.Errorf("%+v: got %q, want %q", tt.s, got, tt.want)
		}
	}
}
