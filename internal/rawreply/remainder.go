package rawreply

import "errors"

// remainder knows how much of a reply is still to come.
type remainder struct{ values int }

// walk follows the reply over b, its next bytes. whole is where a header begins that b does not
// have to its end, or else the end of b or of the reply. missing is how many bytes come after b of
// a bulk string that begins in it.
func (r *remainder) walk(b []byte) (whole, missing int, err error) {
	var i int
	for ; r.values > 0; whole = i {
		kind := byte('$')
		n, end := Size(b, whole, kind)
		if end == 0 {
			if kind, n, end, err = Header(b, whole); errors.Is(err, ErrShort) {
				break
			} else if err != nil {
				return whole, 0, err
			}
		}
		i = end
		r.values--
		switch {
		case n < 0, kind == ':':
		case kind == '$':
			if i += n + 2; i >= len(b) {
				return len(b), i - len(b), nil
			}
		case kind == '%':
			r.values += 2 * n
		default:
			r.values += n
		}
	}
	return whole, 0, nil
}
