package relay

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"pgregory.net/rapid"
)

// canned is a connection on which a server answers each command with the next reply, whatever is
// asked.
type canned struct {
	net.Conn // nothing else is called
	next     func() []byte
	slowly   func(io.Reader) io.Reader // how a reply arrives; nil: at once
	reply    io.Reader
}

func (c *canned) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("\r\nhello\r\n")) {
		c.reply = strings.NewReader("-ERR unknown command\r\n")
	} else {
		c.reply = bytes.NewReader(c.next())
	}
	if c.slowly != nil {
		c.reply = c.slowly(c.reply)
	}
	return len(p), nil
}

func (c *canned) Read(p []byte) (int, error)       { return c.reply.Read(p) }
func (c *canned) Close() error                     { return nil }
func (c *canned) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *canned) SetDeadline(time.Time) error      { return nil }
func (c *canned) SetReadDeadline(time.Time) error  { return nil }
func (c *canned) SetWriteDeadline(time.Time) error { return nil }

// cannedReader reads through a go-redis client that has one connection at a time; dials counts
// them.
func cannedReader(slowly func(io.Reader) io.Reader, next func() []byte) (r *streamReader, dials *int) {
	dials = new(int)
	client := redis.NewClient(&redis.Options{
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			*dials++
			return &canned{next: next, slowly: slowly}, nil
		},
		Protocol: 2, PoolSize: 1, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	return newStreamReader(client, 0, "stream"), dials
}

// inTurn gives one reply after the other.
func inTurn(replies ...string) func() []byte {
	return func() (next []byte) {
		next, replies = []byte(replies[0]), replies[1:]
		return next
	}
}

func TestReplyBufferReadsToTheEnd(t *testing.T) {
	t.Parallel()
	entries := string(respEntries(rawEntry{EntryID{5, 0}, resp(event("e-1", "k")...)}, rawEntry{EntryID{5, 1}, resp("a", "", "payload", "\r\n$5\r\n*3\x00")}))
	replies := map[string]string{
		"XRANGE": entries, "XRANGE of none": "*0\r\n", "null": "*-1\r\n", "null of RESP3": "_\r\n",
		"XREADGROUP":          "*1\r\n*2\r\n$6\r\nstream\r\n" + entries,
		"XREADGROUP of RESP3": "%1\r\n$6\r\nstream\r\n" + entries,
		"XAUTOCLAIM":          "*3\r\n$3\r\n0-0\r\n" + entries + "*1\r\n$3\r\n4-0\r\n",
		"nulls behind a bulk": "*5\r\n$1\r\nx\r\n$-1\r\n_\r\n*-1\r\n:-7\r\n",
		"a bulk alone":        "$3\r\nabc\r\n",
		"ends with a bulk":    "*1\r\n$3\r\nabc\r\n",
		"long":                "*2\r\n$100000\r\n" + strings.Repeat("0123456789", 10_000) + "\r\n$0\r\n\r\n",
	}
	for name, reply := range replies {
		for pace, slowly := range map[string]func(io.Reader) io.Reader{
			"at once": nil, "by the byte": iotest.OneByteReader, "by halves": iotest.HalfReader,
		} {
			r, dials := cannedReader(slowly, inTurn(reply, "+PONG\r\n"))
			got, err := r.do(t.Context(), 1, "ANY", r.key)
			if err != nil || string(got) != reply {
				t.Errorf("%s, %s: got %q, %v", name, pace, clip(got), err)
				continue
			}
			// The connection stands right behind the reply, and go-redis has kept it.
			if pong, err := r.client.Ping(t.Context()).Result(); pong != "PONG" || err != nil || *dials != 1 {
				t.Errorf("%s, %s: then PING gets %q, %v, after %d dials", name, pace, pong, err, *dials)
			}
		}
	}
}

// What stands behind a reply, which is a push or a mistake of the server's, is left to go-redis.
func TestReplyBufferLeavesTheRest(t *testing.T) {
	t.Parallel()
	const reply, behind = "*2\r\n$1\r\na\r\n*0\r\n", ">2\r\n$10\r\ninvalidate\r\n_\r\n"
	conn := bufio.NewReader(strings.NewReader(reply + behind))
	r := replyBuffer{limit: 1000}
	for _, header := range []string{"*2\r\n", "$1\r\n"} {
		if _, err := io.CopyN(struct{ io.Writer }{&r}, conn, int64(len(header))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.CopyN(&r, conn, 3); !errors.Is(err, errReplyEnd) || string(r.b) != reply {
		t.Fatalf("got %q, %v", r.b, err)
	}
	if left, err := io.ReadAll(conn); string(left) != behind || err != nil {
		t.Errorf("%q is left, %v", left, err)
	}
	if _, err := r.Write([]byte("x")); !errors.Is(err, errBehindReply) {
		t.Errorf("Write behind the end: %v", err)
	}
	if _, err := io.CopyN(&r, strings.NewReader("x"), 1); !errors.Is(err, errBehindReply) {
		t.Errorf("CopyN behind the end: %v", err)
	}
}

// A reply that does not come to its end, or is not RESP, is an error, and its connection is not
// used again.
func TestReplyBufferRefuses(t *testing.T) {
	t.Parallel()
	whole := string(respEntries(rawEntry{EntryID{5, 0}, resp(event("e-1", "k")...)}, rawEntry{EntryID{6, 0}, resp("a", "\r\n")}))
	replies := []string{"*2\r\n$1\r\na\r\nx\r\n", "*2\r\n$1\r\na\r\n$x\r\n", "*2\r\n$1\r\na\r\n\n", "*2\r\n$1\r\na\r\n" + strings.Repeat("1", 100_000)}
	for n := range whole {
		if n > 0 { // nothing at all is no reply
			replies = append(replies, whole[:n])
		}
	}
	for _, reply := range replies {
		r, dials := cannedReader(nil, inTurn(reply, "+PONG\r\n"))
		if got, err := r.do(t.Context(), 1, "ANY", r.key); err == nil {
			t.Fatalf("%q gives %q", clip([]byte(reply)), got)
		}
		if err := r.client.Ping(t.Context()).Err(); err != nil || *dials != 2 {
			t.Fatalf("%q: then PING gets %v, after %d dials", clip([]byte(reply)), err, *dials)
		}
	}
}

// A reply is refused before more than the limit is held of it.
func TestReplyBufferTooLarge(t *testing.T) {
	t.Parallel()
	entries := make([]rawEntry, 100)
	for i := range entries {
		entries[i] = rawEntry{EntryID{5, uint64(i)}, resp(event("e-1", "k")...)}
	}
	reply := respEntries(entries...)
	r, _ := cannedReader(nil, func() []byte { return reply })
	for limit := 0; limit <= len(reply); limit += 1 + len(reply)/100 {
		r.limit, r.scratch = limit, nil
		got, err := r.do(t.Context(), 1, "XRANGE", r.key)
		if want := limit < len(reply); errors.Is(err, errReplyTooLarge) != want || !want && (err != nil || !bytes.Equal(got, reply)) {
			t.Fatalf("%d bytes with a limit of %d: got %d, %v", len(reply), limit, len(got), err)
		}
		if cap(r.scratch) > 4*len(reply) {
			t.Fatalf("holds %d bytes of a reply of %d", cap(r.scratch), len(reply))
		}
	}
}

func TestReplyBufferRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var value func(depth int) string
		value = func(depth int) string {
			switch kind := rapid.SampledFrom([]string{"*", "$", "$", "$", "%", "~", ":", "_", "null"}).Draw(t, "kind"); kind {
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
		r, _ := cannedReader(rapid.SampledFrom([]func(io.Reader) io.Reader{nil, iotest.OneByteReader, iotest.HalfReader}).Draw(t, "pace"), inTurn(reply))
		if got, err := r.do(context.Background(), 1, "ANY", r.key); err != nil || string(got) != reply {
			t.Fatalf("%q: got %q, %v", reply, got, err)
		}
	})
}

// A go-redis that copies from something else than its connection's buffer is served piece by piece.
func TestReplyBufferByPieces(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("0123456789", 1000)
	for name, src := range map[string]io.Reader{
		"at once":       strings.NewReader(text),
		"by the byte":   iotest.OneByteReader(strings.NewReader(text)),
		"by halves":     iotest.HalfReader(strings.NewReader(text)),
		"EOF with data": iotest.DataErrReader(strings.NewReader(text)),
	} {
		r := replyBuffer{b: make([]byte, 0, 7), limit: 20_000}
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

func TestReplyBufferLimit(t *testing.T) {
	t.Parallel()
	r := replyBuffer{limit: 10}
	if _, err := r.Write(make([]byte, 11)); !errors.Is(err, errReplyTooLarge) {
		t.Errorf("Write: %v", err)
	}
	if n, err := r.Write(make([]byte, 4)); n != 4 || err != nil {
		t.Errorf("Write: %d, %v", n, err)
	}
	// io.CopyN, as go-redis uses it: refused before a byte is read.
	src := strings.NewReader("1234567")
	if _, err := io.CopyN(&r, src, 7); !errors.Is(err, errReplyTooLarge) || src.Len() != 7 {
		t.Errorf("CopyN: %v, %d bytes left", err, src.Len())
	}
	if n, err := io.CopyN(&r, strings.NewReader("123456"), 6); n != 6 || err != nil || len(r.b) != 10 {
		t.Errorf("CopyN: %d, %v", n, err)
	}
	unbounded := replyBuffer{limit: 1000}
	if _, err := unbounded.ReadFrom(strings.NewReader(strings.Repeat("x", 5000))); !errors.Is(err, errReplyTooLarge) {
		t.Errorf("ReadFrom: %v", err)
	}
	broken := replyBuffer{limit: 1000}
	if n, err := broken.ReadFrom(io.LimitReader(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("xyz"))), 3)); n != 1 || !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("ReadFrom: %d, %v", n, err)
	}
	short := replyBuffer{limit: 1000}
	if _, err := io.CopyN(&short, strings.NewReader("xy"), 3); !errors.Is(err, io.EOF) {
		t.Errorf("CopyN of a connection that ends: %v", err)
	}
}

// BenchmarkRead is what a read costs beside its system calls.
func BenchmarkRead(b *testing.B) {
	const n = 1000
	entries := make([]rawEntry, n)
	for i := range entries {
		entries[i] = rawEntry{EntryID{1700000000000, uint64(i)}, resp(event("0190a6c1-7b2e-7c3d-8e4f-5a6b7c8d9e0f", "customer-4711")...)}
	}
	reply := respEntries(entries...)
	r, _ := cannedReader(nil, func() []byte { return reply })
	b.SetBytes(int64(len(reply)))
	b.ReportAllocs()
	for b.Loop() {
		r.count = n
		if got, _, err := r.read(b.Context(), anchor{}); err != nil || len(got) != n {
			b.Fatal(len(got), err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/entry")
}
