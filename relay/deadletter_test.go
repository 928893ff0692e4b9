package relay

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/sluice-outbox/sluice/outbox"
)

func TestDeadLetterRecords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		size, chunks int
	}{
		{0, 1},
		{1, 1},
		{deadLetterChunk - 1, 1},
		{deadLetterChunk, 1},
		{deadLetterChunk + 1, 2},
		{2 * deadLetterChunk, 2},
		{5*deadLetterChunk + 7, 6},
	} {
		fields := make([]byte, c.size)
		for i := range fields {
			fields[i] = byte(i * 7)
		}
		d := deadLetter{
			id: outbox.EntryID{MS: 1767319445000, Seq: 3}, reason: ReasonTooLarge,
			detail: "the record has 9 bytes",
		}
		records := deadLetterRecords("letters", "orders/3/", fields, d, "orders.v2")
		if len(records) != c.chunks {
			t.Errorf("%d bytes: %d records, want %d", c.size, len(records), c.chunks)
		}
		var whole []byte
		for i, r := range records {
			key := "orders/3/1767319445000-3"
			if i > 0 {
				key += "#" + strconv.Itoa(i)
			}
			if r.Topic != "letters" || string(r.Key) != key || len(r.Value) > deadLetterChunk {
				t.Errorf("%d bytes, record %d: topic %s, key %s, %d bytes", c.size, i, r.Topic, r.Key,
					len(r.Value))
			}
			if r.Value == nil {
				t.Errorf("%d bytes, record %d: a null value drops the letter from a compacted topic", c.size, i)
			}
			want := "sluice-entry=orders/3/1767319445000-3 sluice-reason=too_large sluice-detail=the " +
				"record has 9 bytes sluice-topic=orders.v2"
			if c.chunks > 1 {
				want += fmt.Sprintf(" sluice-chunks=%d", c.chunks)
			}
			if got := headerText(r.Headers); got != want {
				t.Errorf("%d bytes, record %d: headers %s\nwant %s", c.size, i, got, want)
			}
			if entryOf(r) != d.id {
				t.Errorf("%d bytes, record %d: entryOf says %s", c.size, i, entryOf(r))
			}
			if size := recordSize(r); size > 600_000 {
				t.Errorf("%d bytes, record %d: has %d bytes, the promise is below 600 kB", c.size, i, size)
			}
			whole = append(whole, r.Value...)
		}
		if !bytes.Equal(whole, fields) {
			t.Errorf("%d bytes: put together they are not the entry", c.size)
		}
	}
}

func TestDeadLetterWithoutTopic(t *testing.T) {
	t.Parallel()
	records := deadLetterRecords("letters", "orders/3/", resp("a", "b"),
		deadLetter{id: outbox.EntryID{MS: 5}, reason: ReasonUndecodable, detail: "why"}, "")
	if got := headerText(records[0].Headers); strings.Contains(got, "sluice-topic") ||
		strings.Contains(got, "sluice-chunks") {
		t.Errorf("headers %s", got)
	}
	if string(records[0].Value) != "*2\r\n$1\r\na\r\n$1\r\nb\r\n" {
		t.Errorf("value %q", records[0].Value)
	}
}
