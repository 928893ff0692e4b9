package relay

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/sluice-outbox/sluice/internal/rawreply"
	"github.com/sluice-outbox/sluice/outbox"
)

// Redis's replies to stream reads are parsed here from their raw bytes, because they are the hot
// path: an entry stays a set of slices of the one buffer that its reply came in, and its exact
// bytes are there for fingerprint and dead letters. Package rawreply gets the bytes.

// parser walks over a raw reply. Its slices point into the reply.
type parser struct {
	b []byte
	i int
}

// header reads a line such as "*3\r\n" and returns its type and number. A nil of any kind has
// number -1.
func (p *parser) header() (kind byte, n int, err error) {
	kind, n, p.i, err = rawreply.Header(p.b, p.i)
	return kind, n, err
}

// array reads an array header; a nil is an array of none.
func (p *parser) array() (int, error) {
	if n, end := rawreply.Size(p.b, p.i, '*'); end > 0 {
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
	// the common case: it is met a dozen times an entry
	if n, i := rawreply.Size(p.b, p.i, '$'); i > 0 {
		if end := i + n; end+2 <= len(p.b) && p.b[end] == '\r' && p.b[end+1] == '\n' {
			p.i = end + 2
			return p.b[i:end:end], nil
		}
	}
	return p.bulkSlow()
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
		return nil, rawreply.ErrShort
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
	id     outbox.EntryID
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
func parseID(b []byte) (outbox.EntryID, error) {
	var id outbox.EntryID
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
