package consistency

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/redis/go-redis/v9"
)

var (
	errReplyTooLarge = errors.New("the reply is larger than asked for")
	// errWhole ends go-redis's copying of a reply that was read to its end. After redis.Nil the
	// connection stays in use.
	errWhole error = redis.Nil
	// errBehindReply keeps what does not belong to a reply from being taken for a part of it,
	// should a version of go-redis go on reading after an error; the connection is closed then.
	errBehindReply = errors.New("go-redis has read on behind the end of a reply")
)

// replyBuffer takes one raw reply of at most limit bytes.
//
// go-redis copies a reply value by value, with an io.CopyN for each string, which takes longer than
// everything that an audit does with an entry. But io.CopyN hands over the connection's buffer,
// inside an io.LimitedReader. From the first string on, the reply is taken from that buffer as it
// comes, up to its end and no further, and errWhole ends go-redis's own copying. What is not a
// bufio.Reader is copied string by string.
type replyBuffer struct {
	b     []byte
	limit int

	whole bool // b is the reply up to its end, read by takeRest
	at    int  // where the next value begins, may be after b
	left  int  // values that are still to begin
}

func (r *replyBuffer) Write(p []byte) (int, error) {
	if r.whole {
		return 0, errBehindReply
	}
	if len(r.b)+len(p) > r.limit {
		return 0, errReplyTooLarge
	}
	r.b = append(r.b, p...)
	return len(p), nil
}

// ReadFrom implements io.ReaderFrom, which io.CopyN looks for.
func (r *replyBuffer) ReadFrom(src io.Reader) (int64, error) {
	if r.whole {
		return 0, errBehindReply
	}
	if limited, ok := src.(*io.LimitedReader); ok {
		if conn, ok := limited.R.(*bufio.Reader); ok {
			begin := len(r.b)
			err := r.takeRest(conn)
			return int64(len(r.b) - begin), err
		}
	}
	return io.Copy(struct{ io.Writer }{r}, src)
}

// takeRest reads up to the end of the reply.
func (r *replyBuffer) takeRest(conn *bufio.Reader) error {
	r.at, r.left = 0, 1
	if err := r.walk(); err != nil {
		return err
	}
	for !r.whole {
		if _, err := conn.Peek(1); err != nil {
			return err
		}
		window, _ := conn.Peek(conn.Buffered())
		begin := len(r.b)
		r.b = append(r.b, window...)
		if err := r.walk(); err != nil {
			return err
		}
		if r.whole {
			r.b = r.b[:r.at]
		}
		if len(r.b) > r.limit {
			return errReplyTooLarge
		}
		if _, err := conn.Discard(len(r.b) - begin); err != nil {
			return err
		}
	}
	return errWhole
}

// walk goes over the values that have come, as far as their headers are there.
func (r *replyBuffer) walk() error {
	for r.left > 0 && r.at < len(r.b) {
		end := bytes.IndexByte(r.b[r.at:], '\n')
		if end < 0 {
			return nil
		}
		kind, line := r.b[r.at], r.b[r.at+1:r.at+end]
		r.left--
		r.at += end + 1
		if kind != '*' && kind != '$' {
			if kind == '_' || kind == ':' || kind == '+' || kind == '-' {
				continue // a value of one line
			}
			return fmt.Errorf("redis reply: a value of type %q, which no stream has", kind)
		}
		if string(line) == "-1\r" {
			continue
		}
		var n uint64
		if len(line) == 0 || !parseUint(line[:len(line)-1], &n) || n > 1<<40 {
			return fmt.Errorf("redis reply: bad length %q", clip(line))
		}
		if kind == '*' {
			r.left += int(n)
		} else {
			r.at += int(n) + 2
		}
	}
	r.whole = r.left == 0 && r.at <= len(r.b)
	return nil
}
