package rawreply

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func TestBufferReadsToTheEnd(t *testing.T) {
	t.Parallel()
	entries := entries(event(), bulks("a", "", "payload", "\r\n$5\r\n*3\x00"))
	replies := map[string]string{
		"XRANGE": entries, "XRANGE of none": "*0\r\n", "null": "*-1\r\n", "null of RESP3": "_\r\n",
		"XREADGROUP":          "*1\r\n*2\r\n$6\r\nstream\r\n" + entries,
		"XREADGROUP of RESP3": "%1\r\n$6\r\nstream\r\n" + entries,
		"XAUTOCLAIM":          "*3\r\n$3\r\n0-0\r\n" + entries + "*1\r\n$3\r\n4-0\r\n",
		"nulls after a bulk":  "*5\r\n$1\r\nx\r\n$-1\r\n_\r\n*-1\r\n:-7\r\n",
		"a bulk alone":        "$3\r\nabc\r\n",
		"ends with a bulk":    "*1\r\n$3\r\nabc\r\n",
		"long": "*2\r\n$100000\r\n" + strings.Repeat("0123456789", 10_000) +
			"\r\n$0\r\n\r\n",
	}
	for name, reply := range replies {
		for pace, slowly := range map[string]func(io.Reader) io.Reader{
			"at once": nil, "by the byte": iotest.OneByteReader, "by halves": iotest.HalfReader,
		} {
			c, dials := cannedClient(slowly, inTurn(reply, "+PONG\r\n"))
			got, err := Do(t.Context(), c, nil, limit, 1, "ANY", "stream")
			if err != nil || string(got) != reply {
				t.Errorf("%s, %s: got %q, %v", name, pace, got, err)
				continue
			}
			// The connection is right after the reply, and go-redis has kept it.
			if pong, err := c.Ping(t.Context()).Result(); pong != "PONG" || err != nil || *dials != 1 {
				t.Errorf("%s, %s: then PING gets %q, %v, after %d dials", name, pace, pong, err, *dials)
			}
		}
	}
}

// What follows a reply, which is a push or a mistake of the server's, is left to go-redis.
func TestBufferLeavesTheRest(t *testing.T) {
	t.Parallel()
	const reply, rest = "*2\r\n$1\r\na\r\n*0\r\n", ">2\r\n$10\r\ninvalidate\r\n_\r\n"
	conn := bufio.NewReader(strings.NewReader(reply + rest))
	r := buffer{limit: 1000}
	for _, header := range []string{"*2\r\n", "$1\r\n"} {
		if _, err := io.CopyN(struct{ io.Writer }{&r}, conn, int64(len(header))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.CopyN(&r, conn, 3); !errors.Is(err, errEnd) || string(r.b) != reply {
		t.Fatalf("got %q, %v", r.b, err)
	}
	if left, err := io.ReadAll(conn); string(left) != rest || err != nil {
		t.Errorf("%q is left, %v", left, err)
	}
	if _, err := r.Write([]byte("x")); !errors.Is(err, errAfterEnd) {
		t.Errorf("Write past the end: %v", err)
	}
	if _, err := io.CopyN(&r, strings.NewReader("x"), 1); !errors.Is(err, errAfterEnd) {
		t.Errorf("CopyN past the end: %v", err)
	}
}

// A reply that does not come to its end, or is not RESP, is an error, and its connection is not
// used again.
func TestBufferRefuses(t *testing.T) {
	t.Parallel()
	whole := entries(event(), bulks("a", "\r\n"))
	replies := []string{
		"*2\r\n$1\r\na\r\nx\r\n", "*2\r\n$1\r\na\r\n$x\r\n", "*2\r\n$1\r\na\r\n\n",
		"*2\r\n$1\r\na\r\n" + strings.Repeat("1", 100_000),
	}
	for n := range whole {
		if n > 0 { // nothing at all is no reply
			replies = append(replies, whole[:n])
		}
	}
	for _, reply := range replies {
		c, dials := cannedClient(nil, inTurn(reply, "+PONG\r\n"))
		if got, err := Do(t.Context(), c, nil, limit, 1, "ANY", "stream"); err == nil {
			t.Fatalf("%q gives %.80q", reply, got)
		}
		if err := c.Ping(t.Context()).Err(); err != nil || *dials != 2 {
			t.Fatalf("%q: then PING gets %v, after %d dials", reply, err, *dials)
		}
	}
}

// A reply is refused before more than the limit is held of it.
func TestBufferTooLarge(t *testing.T) {
	t.Parallel()
	fields := make([]string, 100)
	for i := range fields {
		fields[i] = event()
	}
	reply := entries(fields...)
	c, _ := cannedClient(nil, func() []byte { return []byte(reply) })
	for limit := 0; limit <= len(reply); limit += 1 + len(reply)/100 {
		got, err := Do(t.Context(), c, nil, limit, 1, "XRANGE", "stream")
		if want := limit < len(reply); errors.Is(err, ErrTooLarge) != want ||
			!want && (err != nil || string(got) != reply) {
			t.Fatalf("%d bytes with a limit of %d: got %d, %v", len(reply), limit, len(got), err)
		}
		if cap(got) > 4*len(reply) {
			t.Fatalf("holds %d bytes of a reply of %d", cap(got), len(reply))
		}
	}
}

func TestBufferRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var value func(depth int) string
		value = func(depth int) string {
			switch kind := rapid.SampledFrom([]string{"*", "$", "$", "$", "%", "~", ":", "_", "null"}).Draw(
				t, "kind"); kind {
			case "$":
				s := rapid.StringOf(rapid.RuneFrom([]rune("a\r\n$*0é\x00"))).Draw(t, "bulk")
				return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s)
			case ":":
				return fmt.Sprintf(":%d\r\n", rapid.IntRange(-5, 5).Draw(t, "number"))
			case "_":
				return "_\r\n"
			case "null":
				return rapid.SampledFrom([]string{"$-1\r\n", "*-1\r\n"}).Draw(t, "null")
			default:
				n := rapid.IntRange(0, 4).Draw(t, "n")
				if depth == 0 {
					n = 0
				}
				s := fmt.Sprintf("%s%d\r\n", kind, n)
				if kind == "%" {
					n *= 2
				}
				for range n {
					s += value(depth - 1)
				}
				return s
			}
		}
		reply := value(4)
		c, _ := cannedClient(rapid.SampledFrom(
			[]func(io.Reader) io.Reader{nil, iotest.OneByteReader, iotest.HalfReader}).Draw(t, "pace"),
			inTurn(reply))
		if got, err := Do(context.Background(), c, nil, limit, 1, "ANY", "stream"); err != nil ||
			string(got) != reply {
			t.Fatalf("%q: got %q, %v", reply, got, err)
		}
	})
}

// A go-redis that copies from something else than its connection's buffer is served piece by piece.
func TestBufferByPieces(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("0123456789", 1000)
	for name, src := range map[string]io.Reader{
		"at once":       strings.NewReader(text),
		"by the byte":   iotest.OneByteReader(strings.NewReader(text)),
		"by halves":     iotest.HalfReader(strings.NewReader(text)),
		"EOF with data": iotest.DataErrReader(strings.NewReader(text)),
	} {
		r := buffer{b: make([]byte, 0, 7), limit: 20_000}
		for _, n := range []int64{1, 4096, 0, 903, 5000} {
			got, err := io.CopyN(&r, src, n)
			if err != nil || got != n {
				t.Fatalf("%s: copied %d of %d bytes, %v", name, got, n, err)
			}
		}
		if string(r.b) != text {
			t.Errorf("%s: %d bytes, or not the ones that were sent", name, len(r.b))
		}
	}
}

func TestBufferLimit(t *testing.T) {
	t.Parallel()
	r := buffer{limit: 10}
	if _, err := r.Write(make([]byte, 11)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Write: %v", err)
	}
	if n, err := r.Write(make([]byte, 4)); n != 4 || err != nil {
		t.Errorf("Write: %d, %v", n, err)
	}
	// io.CopyN, as go-redis uses it: refused before a byte is read.
	src := strings.NewReader("1234567")
	if _, err := io.CopyN(&r, src, 7); !errors.Is(err, ErrTooLarge) || src.Len() != 7 {
		t.Errorf("CopyN: %v, %d bytes left", err, src.Len())
	}
	if n, err := io.CopyN(&r, strings.NewReader("123456"), 6); n != 6 || err != nil || len(r.b) != 10 {
		t.Errorf("CopyN: %d, %v", n, err)
	}
	unbounded := buffer{limit: 1000}
	if _, err := unbounded.ReadFrom(strings.NewReader(strings.Repeat("x", 5000))); !errors.Is(err,
		ErrTooLarge) {
		t.Errorf("ReadFrom: %v", err)
	}
	broken := buffer{limit: 1000}
	if n, err := broken.ReadFrom(io.LimitReader(
		iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("xyz"))), 3)); n != 1 ||
		!errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("ReadFrom: %d, %v", n, err)
	}
	short := buffer{limit: 1000}
	if _, err := io.CopyN(&short, strings.NewReader("xy"), 3); !errors.Is(err, io.EOF) {
		t.Errorf("CopyN of a connection that ends: %v", err)
	}
}

// BenchmarkDo is what a reply of a thousand entries costs beside its system calls.
func BenchmarkDo(b *testing.B) {
	const n = 1000
	fields := make([]string, n)
	for i := range fields {
		fields[i] = event()
	}
	reply := []byte(entries(fields...))
	c, _ := cannedClient(nil, func() []byte { return reply })
	var into []byte
	b.SetBytes(int64(len(reply)))
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if into, err = Do(b.Context(), c, into, limit, 1, "XRANGE", "stream"); err != nil ||
			len(into) != len(reply) {
			b.Fatal(len(into), err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/entry")
}
