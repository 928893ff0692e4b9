package relay

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/outbox"
)

func TestOriginOf(t *testing.T) {
	t.Parallel()
	type origin struct {
		outbox string
		shard  int
		id     outbox.EntryID
	}
	for text, want := range map[string]origin{
		"orders/3/5-7": {"orders", 3, outbox.EntryID{MS: 5, Seq: 7}},
		"a/b":          {}, "": {}, "/": {}, "//": {}, "orders/3/x": {}, "orders/x/5-7": {}, "5-7": {},
		"orders/3/5-7/9": {},
	} {
		r := &kgo.Record{Headers: []kgo.RecordHeader{
			{Key: "id", Value: []byte("x/9-9")},
			{Key: "sluice-entry", Value: []byte(text)},
		}}
		name, id, shard := originOf(r)
		if got := (origin{name, shard, id}); got != want {
			t.Errorf("%q: got %+v, want %+v", text, got, want)
		}
		if got := entryOf(r); got != want.id {
			t.Errorf("%q: entry %s, want %s", text, got, want.id)
		}
	}
	if got := entryOf(&kgo.Record{}); !got.IsZero() {
		t.Errorf("the position record belongs to entry %s", got)
	}
}
