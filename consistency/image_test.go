package consistency

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// benchReply is the reply to an XRANGE of n usual entries.
func benchReply(n int) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", n)
	for i := range n {
		id := EntryID{MS: 1700000000000, Seq: uint64(i)}.String()
		fmt.Fprintf(&b, "*2\r\n$%d\r\n%s\r\n*12\r\n", len(id), id)
		for _, f := range entryFields(fmt.Sprintf("01890000-0000-7000-8000-%012d", i), "order",
			fmt.Sprint("order-", i%1000), "OrderPlaced", strings.Repeat("x", 200)) {
			fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(f), f)
		}
	}
	return []byte(b.String())
}

// perEvent runs fn, which does n events at once.
func perEvent(b *testing.B, n int, fn func()) {
	b.ReportAllocs()
	for range b.N {
		fn()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/event")
}

// BenchmarkEntries takes what an audit does with entries apart.
func BenchmarkEntries(b *testing.B) {
	const n = 1000
	raw := benchReply(n)
	whole := reply{b: raw}
	entries, err := whole.entries(nil)
	if err != nil {
		b.Fatal(err)
	}
	var (
		en    entry
		im    image
		sh    = shape{format: Raw}
		h     hasher
		sum   Digest
		again []rawEntry
	)
	b.Run("parse", func(b *testing.B) {
		perEvent(b, n, func() {
			r := reply{b: raw}
			again, _ = r.entries(again[:0])
		})
	})
	b.Run("decode", func(b *testing.B) {
		perEvent(b, n, func() {
			for _, e := range entries {
				en.decode(e)
			}
		})
	})
	for _, format := range []Format{Raw, CloudEventsBinary, CloudEventsStructured} {
		b.Run("expect/"+string(format), func(b *testing.B) {
			sh := shape{format: format}
			perEvent(b, n, func() {
				for range n {
					sh.expect(&im, &en)
				}
			})
		})
	}
	sh.expect(&im, &en)
	b.Run("hash", func(b *testing.B) {
		perEvent(b, n, func() {
			for range n {
				sum.add(h.sum(&im))
			}
		})
	})
}

// BenchmarkRecords takes what an audit does with records apart.
func BenchmarkRecords(b *testing.B) {
	r := rawRecord(0, EntryID{MS: 1700000000000, Seq: 1},
		"01890000-0000-7000-8000-000000000001", "OrderPlaced",
		"order-1", strings.Repeat("x", 200))
	var (
		im image
		sh = shape{format: Raw}
		rs = []*kgo.Record{r}
	)
	b.Run("reference", func(b *testing.B) {
		perEvent(b, 1, func() {
			if _, ours, err := entryOf(rs[0], "o/"); !ours || err != nil {
				b.Fatal(ours, err)
			}
		})
	})
	b.Run("observe", func(b *testing.B) {
		perEvent(b, 1, func() { sh.observe(&im, rs[0], 0, EntryID{MS: 1700000000000, Seq: 1}) })
	})
	b.Run("observe/structured", func(b *testing.B) {
		sh := shape{format: CloudEventsStructured}
		r.Value = []byte(
			`{"specversion":"1.0","id":"01890000-0000-7000-8000-000000000001","source":"shop",` +
				`"type":"OrderPlaced","subject":"order-1",` +
				`"time":"2023-11-14T22:13:20.000Z","aggregatetype":"order","data":{"total":9.5,"note":"` +
				strings.Repeat("x", 170) + `"}}`)
		perEvent(b, 1, func() { sh.observe(&im, r, 0, EntryID{MS: 1700000000000, Seq: 1}) })
	})
}
