package relay

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"
)

var (
	errReplyTooLarge = errors.New("reply is larger than asked for")
	// errReplyEnd ends go-redis's copying of a reply that was read to its end. It has to be an error
	// after which go-redis keeps the connection.
	errReplyEnd error = redis.Nil
	// errBehindReply says that go-redis read on after the end of a reply. The connection is closed,
	// and nothing is taken for a reply.
	errBehindReply = errors.New(
		"go-redis read on behind the end of a reply: this relay does not fit its version")
)

// replyBuffer collects one raw reply and refuses to grow beyond limit.
//
// go-redis copies a raw reply piece by piece, a Write for each header and an io.CopyN for each bulk
// string: a thousand nanoseconds an entry, which is more than all that the relay does with it. But
// io.CopyN shows the buffer of the connection, inside an io.LimitedReader. From the first bulk
// string on the rest is read from that buffer, up to the end of the reply and not a byte further,
// and the copying ends with errReplyEnd. go-redis keeps its timeouts, errors and pool. A version of
// it that copies in another way is served piece by piece.
type replyBuffer struct {
	b     []byte
	limit int
	ended bool // read to the end
}

func (r *replyBuffer) Write(p []byte) (int, error) {
	if r.ended {
		return 0, errBehindReply
	}
	if len(r.b)+len(p) > r.limit {
		return 0, errReplyTooLarge
	}
	r.b = append(r.b, p...)
	return len(p), nil
}

// ReadFrom is what io.CopyN calls for a bulk string and its line end.
func (r *replyBuffer) ReadFrom(src io.Reader) (int64, error) {
	if r.ended {
		return 0, errBehindReply
	}
	if piece, ok := src.(*io.LimitedReader); ok {
		if int64(len(r.b))+piece.N > int64(r.limit) {
			return 0, errReplyTooLarge
		}
		if conn, ok := piece.R.(*bufio.Reader); ok {
			before := len(r.b)
			err := r.readRest(conn)
			return int64(len(r.b) - before), err
		}
	}
	return io.Copy(struct{ io.Writer }{r}, src)
}

// readRest reads the reply to its end. The part that is here ends with the header of a bulk string.
func (r *replyBuffer) readRest(conn *bufio.Reader) error {
	rest := replyRest{values: 1}
	_, missing, err := rest.walk(r.b)
	for need := 1; err == nil; {
		if err = r.readN(conn, missing); err != nil {
			break
		}
		if rest.values == 0 {
			r.ended = true
			return errReplyEnd
		}
		if _, err = conn.Peek(need); err != nil {
			break
		}
		var whole int
		window, _ := conn.Peek(conn.Buffered())
		if whole, missing, err = rest.walk(window); err != nil {
			break
		}
		if need = 1; whole == 0 {
			need = len(window) + 1 // a header of which a part has not arrived
		}
		if _, err = r.Write(window[:whole]); err == nil {
			_, err = conn.Discard(whole)
		}
	}
	return err
}

// readN reads n bytes, or none if they are too many.
func (r *replyBuffer) readN(conn *bufio.Reader, n int) error {
	if len(r.b)+n > r.limit {
		return errReplyTooLarge
	}
	r.b = slices.Grow(r.b, n)
	m, err := io.ReadFull(conn, r.b[len(r.b):len(r.b)+n])
	r.b = r.b[:len(r.b)+m]
	return err
}

var replyPool sync.Pool // of *[]byte

// spareReply returns the buffer of an earlier reply, nil if there is none.
func spareReply() []byte {
	if b, ok := replyPool.Get().(*[]byte); ok {
		return *b
	}
	return nil
}

// recycleReply lets a later reply reuse the memory of this one. Nothing may point into it any more.
func recycleReply(b []byte) {
	if b != nil && cap(b) <= readLimit {
		b = b[:0]
		replyPool.Put(&b)
	}
}

// replyRest knows how much of a reply is still to come.
type replyRest struct{ values int }

// walk follows the reply over b, its next bytes. whole is the end of the reply or of b, or the
// beginning of a header that b holds only in part. missing is how many bytes of a bulk string that
// begins in b follow after b.
func (r *replyRest) walk(b []byte) (whole, missing int, err error) {
	for p := (parser{b: b}); r.values > 0; whole = p.i {
		kind := byte('$')
		n, end := size(b, whole, kind)
		if p.i = end; end == 0 {
			p.i = whole
			if kind, n, err = p.header(); errors.Is(err, errShortReply) {
				break
			} else if err != nil {
				return whole, 0, err
			}
		}
		r.values--
		switch {
		case n < 0, kind == ':':
		case kind == '$':
			if p.i += n + 2; p.i >= len(b) {
				return len(b), p.i - len(b), nil
			}
		case kind == '%':
			r.values += 2 * n
		default:
			r.values += n
		}
	}
	return whole, 0, nil
}
