package relay

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// Redis's replies to stream reads are parsed here from their raw bytes, because they are the hot path:
// an entry stays a set of slices of the one buffer that its reply came in, and its exact bytes are there for
// fingerprint and dead letters. reply.go gets the bytes.

// replyError is an error that Redis answered. go-redis hands over raw replies as they are, errors too.
type replyError string

func (e replyError) Error() string { return string(e) }

// RedisError marks the error as a reply, as go-redis does (redis.Error).
func (e replyError) RedisError() {}

// replyErr is the error that a raw reply consists of, if it does.
func replyErr(reply []byte) error {
	if len(reply) == 0 || reply[0] != '-' && reply[0] != '!' {
		return nil
	}
	line, rest, _ := bytes.Cut(reply[1:], []byte("\r\n"))
	if reply[0] == '!' { // RESP3: the length stands first
		line, _, _ = bytes.Cut(rest, []byte("\r\n"))
	}
	return replyError(line)
}

// parser walks over a raw reply. Its slices are parts of the reply.
type parser struct {
	b []byte
	i int
}

var errShortReply = errors.New("redis reply ends too early")

// header reads a line such as "*3\r\n" and returns its type and number. A nil of any kind has number -1.
func (p *parser) header() (kind byte, n int, err error) {
	end := bytes.IndexByte(p.b[p.i:], '\n')
	if end < 2 || p.b[p.i+end-1] != '\r' {
		return 0, 0, errShortReply
	}
	line := p.b[p.i : p.i+end-1]
	p.i += end + 1
	kind = line[0]
	switch kind {
	case '*', '$', '%', '~', '>', ':':
		n, err = atoi(line[1:])
		if err != nil {
			return 0, 0, fmt.Errorf("redis reply: bad length in %q", clip(line))
		}
		return kind, n, nil
	case '_':
		return kind, -1, nil
	case '-', '!':
		return 0, 0, replyError(line[1:])
	}
	return 0, 0, fmt.Errorf("redis reply: unexpected %q", clip(line))
}

func atoi(b []byte) (int, error) {
	if len(b) == 0 || len(b) > 18 {
		return 0, strconv.ErrRange
	}
	n, neg := 0, false
	for i, c := range b {
		if i == 0 && c == '-' && len(b) > 1 {
			neg = true
			continue
		}
		if c < '0' || c > '9' {
			return 0, strconv.ErrSyntax
		}
		n = n*10 + int(c-'0')
	}
	if neg {
		n = -n
	}
	return n, nil
}

// array reads an array header; a nil is an array of none.
func (p *parser) array() (int, error) {
	if n, end := size(p.b, p.i, '*'); end > 0 {
		p.i = end
		return n, nil
	}
	kind, n, err := p.header()
	if err != nil {
		return 0, err
	}
	if n < 0 {
		return 0, nil
	}
	if kind != '*' && kind != '~' && kind != '>' {
		return 0, fmt.Errorf("redis reply: got type %q, want an array", kind)
	}
	return n, nil
}

func (p *parser) bulk() ([]byte, error) {
	if n, i := size(p.b, p.i, '$'); i > 0 { // the common case: it is met a dozen times an entry
		if end := i + n; end+2 <= len(p.b) && p.b[end] == '\r' && p.b[end+1] == '\n' {
			p.i = end + 2
			return p.b[i:end:end], nil
		}
	}
	return p.bulkSlow()
}

// size reads the header at i quickly if it is one like "$12\r\n", of the kind. end is where it ends; 0: it is another, or none.
func size(b []byte, i int, kind byte) (n, end int) {
	if i >= len(b) || b[i] != kind {
		return 0, 0
	}
	first := i + 1
	for i = first; i < len(b) && b[i]-'0' <= 9 && n < 1<<30; i++ {
		n = n*10 + int(b[i]-'0')
	}
	if i == first || i+1 >= len(b) || b[i] != '\r' || b[i+1] != '\n' {
		return 0, 0
	}
	return n, i + 2
}

// bulkSlow finds out what is wrong.
func (p *parser) bulkSlow() ([]byte, error) {
	kind, n, err := p.header()
	if err != nil {
		return nil, err
	}
	if kind != '$' || n < 0 {
		return nil, fmt.Errorf("redis reply: got type %q, want a bulk string", kind)
	}
	if p.i+n+2 > len(p.b) {
		return nil, errShortReply
	}
	if p.b[p.i+n] != '\r' || p.b[p.i+n+1] != '\n' {
		return nil, errors.New("redis reply: a bulk string is not as long as it says")
	}
	s := p.b[p.i : p.i+n : p.i+n]
	p.i += n + 2
	return s, nil
}

// rawEntry is an entry as Redis sent it; fields is the RESP array of its field names and values.
type rawEntry struct {
	id     EntryID
	fields []byte
}

// entries reads an array of [ID, [field, value, …]] and appends them to dst.
func (p *parser) entries(dst []rawEntry) ([]rawEntry, error) {
	n, err := p.array()
	if err != nil {
		return dst, err
	}
	for range n {
		if m, err := p.array(); err != nil || m != 2 {
			return dst, errors.Join(err, errors.New("redis reply: an entry is not a pair"))
		}
		idText, err := p.bulk()
		if err != nil {
			return dst, err
		}
		id, err := parseID(idText)
		if err != nil {
			return dst, err
		}
		start := p.i
		m, err := p.array()
		if err != nil {
			return dst, err
		}
		for range m {
			if _, err := p.bulk(); err != nil {
				return dst, err
			}
		}
		dst = append(dst, rawEntry{id: id, fields: p.b[start:p.i:p.i]})
	}
	return dst, nil
}

// parseID is ParseEntryID without the allocation.
func parseID(b []byte) (EntryID, error) {
	var id EntryID
	dash := bytes.IndexByte(b, '-')
	if dash <= 0 || !parseUint(b[:dash], &id.MS) || !parseUint(b[dash+1:], &id.Seq) {
		return id, fmt.Errorf("redis reply: entry ID %q", clip(b))
	}
	return id, nil
}

func parseUint(b []byte, v *uint64) bool {
	if len(b) == 0 {
		return false
	}
	if len(b) > 18 { // may overflow: the slow way
		n, err := strconv.ParseUint(string(b), 10, 64)
		*v = n
		return err == nil
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
		n = n*10 + uint64(c-'0')
	}
	*v = n
	return true
}
