package consistency

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// copyReply copies as go-redis does: the header of the whole, then each value, with io.CopyN for
// strings.
func copyReply(w io.Writer, conn *bufio.Reader) error {
	line, err := conn.ReadSlice('\n')
	if err != nil {
		return err
	}
	if _, err := w.Write(line); err != nil {
		return err
	}
	var n uint64
	parseUint(line[1:len(line)-2], &n)
	switch line[0] {
	case '$':
		_, err := io.CopyN(w, conn, int64(n)+2)
		return err
	case '*':
		for range n {
			if err := copyReply(w, conn); err != nil {
				return err
			}
		}
	}
	return nil
}

func respValue(t *rapid.T, depth int) string {
	switch kind := rapid.IntRange(0, 5).Draw(t, "kind"); {
	case kind == 0 && depth > 0, kind == 1 && depth > 0:
		n := rapid.IntRange(0, 4).Draw(t, "values")
		var b strings.Builder
		b.WriteString("*" + string(rune('0'+n)) + "\r\n")
		for range n {
			b.WriteString(respValue(t, depth-1))
		}
		return b.String()
	case kind == 2:
		return rapid.SampledFrom([]string{":12\r\n", "*0\r\n", "_\r\n", "$0\r\n\r\n"}).Draw(t, "line")
	}
	s := rapid.StringOfN(rapid.RuneFrom([]rune("a$*\r\n")), 0, 20, -1).Draw(t, "string")
	return "$" + string(rune('0'+len(s)/10)) + string(rune('0'+len(s)%10)) + "\r\n" + s + "\r\n"
}

// TestReplyBufferTakesOneReply holds the fast way against the slow one: both take a reply up to its
// end, and leave what comes after it.
func TestReplyBufferTakesOneReply(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		first := "*3\r\n" + respValue(t, 3) + respValue(t, 3) + respValue(t, 3)
		const second = "*1\r\n$3\r\nabc\r\n"
		var src io.Reader = strings.NewReader(first + second)
		if rapid.Bool().Draw(t, "in small pieces") {
			src = iotest.OneByteReader(src)
		}
		conn := bufio.NewReaderSize(src, rapid.IntRange(16, 64).Draw(t, "buffer"))
		for _, want := range []string{first, second} {
			r := replyBuffer{limit: 1 << 20}
			if err := copyReply(&r, conn); err != nil && !errors.Is(err, errWhole) {
				t.Fatal(err)
			}
			if string(r.b) != want {
				t.Fatalf("took %q, want %q", r.b, want)
			}
		}
	})
}

func TestReplyBufferRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, reply string
		limit       int
		want        string
	}{
		{"what is too large", "*2\r\n$9\r\nabcdefghi\r\n$9\r\nabcdefghi\r\n", 20, errReplyTooLarge.Error()},
		{"another type", "*2\r\n$1\r\na\r\n%1\r\n", 100, "type '%'"},
		{"a bad length", "*2\r\n$1\r\na\r\n$x\r\n", 100, "bad length"},
		{"an empty length", "*2\r\n$1\r\na\r\n$\n", 100, "bad length"},
		{"an end too early", "*2\r\n$1\r\na\r\n", 100, io.EOF.Error()},
	} {
		r := replyBuffer{limit: c.limit}
		if err := copyReply(&r, bufio.NewReader(strings.NewReader(c.reply))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	// A client that does not stop at the end is stopped.
	r := replyBuffer{limit: 100}
	if err := copyReply(&r, bufio.NewReader(strings.NewReader("*2\r\n$1\r\na\r\n$1\r\nb\r\n"))); !errors.Is(err, errWhole) {
		t.Fatal(err)
	}
	if _, err := r.Write([]byte("*")); !errors.Is(err, errBehindReply) {
		t.Error(err)
	}
	if _, err := io.CopyN(&r, bytes.NewReader([]byte("abc")), 3); !errors.Is(err, errBehindReply) {
		t.Error(err)
	}
}

// TestReplyBufferCopies what comes from something else than a bufio.Reader.
func TestReplyBufferCopies(t *testing.T) {
	t.Parallel()
	r := replyBuffer{limit: 10}
	if n, err := io.CopyN(&r, strings.NewReader("abcdef"), 5); n != 5 || err != nil || string(r.b) != "abcde" {
		t.Errorf("%d, %v, %q", n, err, r.b)
	}
	if _, err := io.CopyN(&r, strings.NewReader("abcdefghi"), 9); !errors.Is(err, errReplyTooLarge) {
		t.Error(err)
	}
}
