package relay

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-outbox/sluice/outbox"
)

// resp is the RESP array of bulk strings that Redis sends for an entry's fields.
func resp(fields ...string) []byte {
	b := append([]byte("*"), strconv.Itoa(len(fields))...)
	b = append(b, "\r\n"...)
	for _, f := range fields {
		b = append(b, "$"...)
		b = strconv.AppendInt(b, int64(len(f)), 10)
		b = append(append(append(b, "\r\n"...), f...), "\r\n"...)
	}
	return b
}

// respEntries is a whole reply to XRANGE.
func respEntries(entries ...rawEntry) []byte {
	b := append([]byte("*"), strconv.Itoa(len(entries))...)
	b = append(b, "\r\n"...)
	for _, e := range entries {
		id := e.id.String()
		b = append(b, "*2\r\n$"...)
		b = strconv.AppendInt(b, int64(len(id)), 10)
		b = append(append(append(b, "\r\n"...), id...), "\r\n"...)
		b = append(b, e.fields...)
	}
	return b
}

func TestParserEntries(t *testing.T) {
	t.Parallel()
	one := rawEntry{outbox.EntryID{MS: 5}, resp("a", "1")}
	empty := rawEntry{outbox.EntryID{MS: 5, Seq: 1}, resp("", "")}
	binary := rawEntry{
		outbox.EntryID{MS: 1<<64 - 1, Seq: 1<<64 - 1},
		resp("payload", "\r\n$5\r\n*3\x00\xff"),
	}
	for name, want := range map[string][]rawEntry{
		"none": {}, "one": {one}, "three": {one, empty, binary},
	} {
		reply := respEntries(want...)
		p := parser{b: reply}
		got, err := p.entries(nil)
		if err != nil || p.i != len(reply) || !slices.EqualFunc(got, want, func(a, b rawEntry) bool {
			return a.id == b.id && bytes.Equal(a.fields, b.fields)
		}) {
			t.Errorf("%s: got %v, %v, read %d of %d bytes", name, got, err, p.i, len(reply))
		}
		for _, e := range got {
			if cap(e.fields) != len(e.fields) {
				t.Errorf("%s: an append to the fields would write into the next entry", name)
			}
		}
	}
	for _, null := range []string{"*-1\r\n", "_\r\n", "$-1\r\n"} {
		p := parser{b: []byte(null)}
		if got, err := p.entries(nil); err != nil || len(got) != 0 {
			t.Errorf("%q: got %v, %v", null, got, err)
		}
	}
}

func TestParserRefuses(t *testing.T) {
	t.Parallel()
	for _, reply := range []string{
		"", "\n", "\r\n", "x", "*", "*1", "*1\r", "*1\n", "*\r\n", "*x\r\n", "*-\r\n", "*1x\r\n",
		"* 1\r\n", "*+1\r\n", "*1\r\r\n", "*1234567890123456789\r\n", "*18446744073709551617\r\n",
		"$3\r\nabc\r\n", "+OK\r\n", "#t\r\n", ",1.5\r\n", "=3\r\nabc\r\n", "(1\r\n",
		"*1\r\n$3\r\nabc\r\n", "*1\r\n*1\r\n$3\r\n5-0\r\n", "*1\r\n*3\r\n$3\r\n5-0\r\n*0\r\n*0\r\n",
		"*1\r\n*-1\r\n", "*1\r\n_\r\n",
		"*1\r\n*2\r\n$-1\r\n*0\r\n", "*1\r\n*2\r\n:5\r\n*0\r\n", "*1\r\n*2\r\n$1\r\n5\r\n*0\r\n",
		"*1\r\n*2\r\n$3\r\n5-x\r\n*0\r\n", "*1\r\n*2\r\n$2\r\n5-\r\n*0\r\n",
		"*1\r\n*2\r\n$2\r\n-5\r\n*0\r\n",
		"*1\r\n*2\r\n$22\r\n18446744073709551616-0\r\n*0\r\n", "*1\r\n*2\r\n$3\r\n5-0\r\n$1\r\na\r\n",
		"*1\r\n*2\r\n$3\r\n5-0\r\n*1\r\n:1\r\n", "*1\r\n*2\r\n$3\r\n5-0\r\n*1\r\n$-1\r\n",
		"*1\r\n*2\r\n$3\r\n5-0\r\n*1\r\n$3\r\nabcde\r\n", "*1\r\n*2\r\n$3\r\n5-0xx*0\r\n",
		"*1\r\n*2\r\n$999999999999999999\r\n5-0\r\n*0\r\n",
	} {
		p := parser{b: []byte(reply)}
		if got, err := p.entries(nil); err == nil {
			t.Errorf("%q: got %v, want an error", reply, got)
		}
	}
}

// A reply that was cut off anywhere is noticed, never taken for a shorter one.
func TestParserTruncated(t *testing.T) {
	t.Parallel()
	reply := respEntries(rawEntry{outbox.EntryID{MS: 5}, resp(event("e-1", "k")...)},
		rawEntry{outbox.EntryID{MS: 6}, resp("a", "\r\n")})
	for n := range reply {
		p := parser{b: reply[:n:n]}
		if got, err := p.entries(nil); err == nil {
			t.Fatalf("the first %d bytes give %v", n, got)
		}
	}
}

func TestParserRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) rawEntry {
			fields := rapid.SliceOf(rapid.StringOf(rapid.RuneFrom([]rune("a\r\n$*0é\x00")))).Draw(t,
				"fields")
			return rawEntry{outbox.EntryID{
				MS:  rapid.Uint64().Draw(t, "ms"),
				Seq: rapid.Uint64().Draw(t, "seq"),
			}, resp(fields...)}
		}), 0, 5).Draw(t, "entries")
		p := parser{b: respEntries(want...)}
		got, err := p.entries(nil)
		if err != nil || len(got) != len(want) {
			t.Fatalf("got %v, %v", got, err)
		}
		for i := range got {
			if got[i].id != want[i].id || !bytes.Equal(got[i].fields, want[i].fields) {
				t.Fatalf("entry %d: got %v, want %v", i, got[i], want[i])
			}
		}
	})
}

func FuzzParserEntries(f *testing.F) {
	f.Add([]byte("*1\r\n*2\r\n$3\r\n5-0\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n"))
	f.Add([]byte("*-1\r\n"))
	f.Add([]byte("-WRONGTYPE x\r\n"))
	f.Add([]byte("*99999999\r\n*2\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := parser{b: b}
		got, err := p.entries(nil)
		if err != nil {
			return
		}
		if p.i > len(b) {
			t.Fatalf("read %d of %d bytes", p.i, len(b))
		}
		for _, e := range got { // whatever was accepted is a well-formed array, as dead letters promise
			inner := parser{b: e.fields}
			n, err := inner.array()
			for range n {
				if _, bulkErr := inner.bulk(); bulkErr != nil {
					err = bulkErr
				}
			}
			if err != nil || inner.i != len(e.fields) {
				t.Fatalf("%q: fields %q: %v", b, e.fields, err)
			}
		}
	})
}

func TestParseIDAgrees(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(
			rapid.StringMatching(`[0-9]{0,21}-[0-9]{0,21}`),
			rapid.StringMatching(`1844674407370955161[0-9]{1}-1844674407370955161[0-9]`),
			rapid.String(),
		).Draw(t, "id")
		want, wantErr := outbox.ParseEntryID(text)
		if !strings.Contains(text, "-") { // outbox.ParseEntryID, which people write for, takes ms alone
			return
		}
		got, err := parseID([]byte(text))
		if (err == nil) != (wantErr == nil) || err == nil && got != want {
			t.Fatalf("%q: got %v, %v; ParseEntryID: %v, %v", text, got, err, want, wantErr)
		}
	})
}

func BenchmarkParserEntries(b *testing.B) {
	entries := make([]rawEntry, 1000)
	for i := range entries {
		entries[i] = rawEntry{
			outbox.EntryID{MS: 1700000000000, Seq: uint64(i)},
			resp(event("0190a6c1-7b2e-7c3d-8e4f-5a6b7c8d9e0f", "customer-4711", "more", "3")...),
		}
	}
	reply := respEntries(entries...)
	var buf []rawEntry
	b.SetBytes(int64(len(reply)))
	b.ReportAllocs()
	for b.Loop() {
		p := parser{b: reply}
		var err error
		if buf, err = p.entries(buf[:0]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/entry")
}
