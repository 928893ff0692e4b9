package rawreply

import (
	"bufio"
	"errors"
	"io"
	"slices"

	"github.com/redis/go-redis/v9"
)

var (
	// errEnd ends go-redis's copying of a reply that was read to its end. It has to be an error after
	// which go-redis keeps the connection.
	errEnd error = redis.Nil
	// errAfterEnd would be a go-redis that reads on all the same. The connection is closed, and
	// nothing is taken for a reply.
	errAfterEnd = errors.New(
		"go-redis read on after the end of a reply: this program does not fit its version")
)

// buffer collects one raw reply and refuses to grow beyond limit.
type buffer struct {
	b     []byte
	limit int
	ended bool // read to the end
}

func (r *buffer) Write(p []byte) (int, error) {
	if r.ended {
		return 0, errAfterEnd
	}
	if len(r.b)+len(p) > r.limit {
		return 0, ErrTooLarge
	}
	r.b = append(r.b, p...)
	return len(p), nil
}

// ReadFrom is what io.CopyN calls for a bulk string and its line end.
func (r *buffer) ReadFrom(src io.Reader) (int64, error) {
	if r.ended {
		return 0, errAfterEnd
	}
	if piece, ok := src.(*io.LimitedReader); ok {
		if int64(len(r.b))+piece.N > int64(r.limit) {
			return 0, ErrTooLarge
		}
		if conn, ok := piece.R.(*bufio.Reader); ok {
			before := len(r.b)
			err := r.readRest(conn)
			return int64(len(r.b) - before), err
		}
	}
	return io.Copy(struct{ io.Writer }{r}, src)
}

// readRest reads the reply to its end. What there is of it by now ends with the header of a bulk
// string.
func (r *buffer) readRest(conn *bufio.Reader) error {
	left := remainder{values: 1}
	_, missing, err := left.walk(r.b)
	for need := 1; err == nil; {
		if err = r.readN(conn, missing); err != nil {
			break
		}
		if left.values == 0 {
			r.ended = true
			return errEnd
		}
		if _, err = conn.Peek(need); err != nil {
			break
		}
		var whole int
		window, _ := conn.Peek(conn.Buffered())
		if whole, missing, err = left.walk(window); err != nil {
			break
		}
		if need = 1; whole == 0 {
			need = len(window) + 1 // a header that has not come as a whole
		}
		if _, err = r.Write(window[:whole]); err == nil {
			_, err = conn.Discard(whole)
		}
	}
	return err
}

// readN reads n bytes, or none if they are too many.
func (r *buffer) readN(conn *bufio.Reader, n int) error {
	if len(r.b)+n > r.limit {
		return ErrTooLarge
	}
	r.b = slices.Grow(r.b, n)
	m, err := io.ReadFull(conn, r.b[len(r.b):len(r.b)+n])
	r.b = r.b[:len(r.b)+m]
	return err
}
