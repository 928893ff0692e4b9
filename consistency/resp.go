package consistency

import (
	"bytes"
	"errors"
	"fmt"
)

// Replies to XRANGE are parsed from their raw bytes: an audit reads every entry, and turning each
// into maps of strings would be most of its cost. An entry stays a set of slices of the buffer that
// its reply came in, which rawreply gets.

var errShortReply = errors.New("redis reply ends too early")

// reply walks over the bytes of a reply.
type reply struct {
	b []byte
	i int
}

// length reads a line such as "*3\r\n" or "$5\r\n" of the wanted kind. A nil has length -1.
func (r *reply) length(want byte) (int, error) {
	end := bytes.IndexByte(r.b[r.i:], '\n')
	if end < 2 || r.b[r.i+end-1] != '\r' {
		return 0, errShortReply
	}
	line := r.b[r.i : r.i+end-1]
	r.i += end + 1
	switch {
	case line[0] == '-' || line[0] == '!':
		return 0, fmt.Errorf("redis: %s", clip(line[1:]))
	case string(line) == "_" || string(line) == "*-1" || string(line) == "$-1":
		return -1, nil
	case line[0] != want:
		return 0, fmt.Errorf("redis reply: got %q, want a %q", clip(line), want)
	}
	var n uint64
	if !parseUint(line[1:], &n) || n > 1<<40 {
		return 0, fmt.Errorf("redis reply: bad length in %q", clip(line))
	}
	return int(n), nil
}

func (r *reply) bulk() ([]byte, error) {
	n, err := r.length('$')
	if err != nil {
		return nil, err
	}
	if n < 0 {
		return nil, errors.New("redis reply: a nil where a string should be")
	}
	if n > len(r.b)-r.i-2 {
		return nil, errShortReply
	}
	s := r.b[r.i : r.i+n : r.i+n]
	r.i += n + 2
	return s, nil
}

// rawEntry is an entry as Redis sent it: fields are the alternating names and values.
type rawEntry struct {
	id     EntryID
	fields [][]byte
	// raw is the RESP array of the fields, byte by byte.
	raw []byte
}

// entries reads the reply of XRANGE. What it returns is part of the reply's bytes.
func (r *reply) entries(dst []rawEntry) ([]rawEntry, error) {
	n, err := r.length('*')
	if err != nil {
		return dst, err
	}
	for range max(0, n) {
		if m, err := r.length('*'); err != nil || m != 2 {
			return dst, errors.Join(err, errors.New("redis reply: an entry is not a pair"))
		}
		text, err := r.bulk()
		if err != nil {
			return dst, err
		}
		id, err := parseEntryID(text)
		if err != nil {
			return dst, err
		}
		begin := r.i
		m, err := r.length('*')
		if err != nil {
			return dst, err
		}
		if m > len(r.b)-r.i {
			return dst, errShortReply
		}
		// The slot of a longer reply before has a slice to use again.
		var e rawEntry
		if len(dst) < cap(dst) {
			e = dst[:len(dst)+1][len(dst)]
		}
		e.id, e.fields = id, e.fields[:0]
		for range max(0, m) {
			s, err := r.bulk()
			if err != nil {
				return dst, err
			}
			e.fields = append(e.fields, s)
		}
		e.raw = r.b[begin:r.i:r.i]
		dst = append(dst, e)
	}
	return dst, nil
}
