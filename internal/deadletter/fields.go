package deadletter

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// Field is one field of a stream entry, as it stood in Redis.
type Field struct {
	Name  string
	Value []byte
}

var errShort = errors.New("the fields end too early")

// maxFields bounds what a header of the value can make us allocate; Redis's own limit is the size
// of a request.
const maxFields = 1 << 20

// decodeFields reads a RESP array of bulk strings: names and values in turn. An odd one out, which
// only a foreign writer can have left, becomes a name without a value.
func decodeFields(b []byte) ([]Field, error) {
	n, rest, err := line(b, '*')
	if err != nil {
		return nil, err
	}
	if n > maxFields {
		return nil, fmt.Errorf("%d fields", n)
	}
	var fields []Field
	for i := range n {
		var s []byte
		if s, rest, err = bulk(rest); err != nil {
			return fields, err
		}
		if i%2 == 0 {
			fields = append(fields, Field{Name: string(s)})
		} else {
			fields[len(fields)-1].Value = s
		}
	}
	if len(rest) > 0 {
		return fields, fmt.Errorf("%d bytes after the fields", len(rest))
	}
	return fields, nil
}

// line reads "*12\r\n".
func line(b []byte, kind byte) (n int, rest []byte, err error) {
	end := bytes.Index(b, []byte("\r\n"))
	if end < 0 {
		return 0, nil, errShort
	}
	if end < 2 || b[0] != kind {
		return 0, nil, fmt.Errorf("expected %q, got %q", kind, b[:min(end, 20)])
	}
	n, err = strconv.Atoi(string(b[1:end]))
	if err != nil || n < 0 {
		return 0, nil, fmt.Errorf("bad length %q", b[1:min(end, 20)])
	}
	return n, b[end+2:], nil
}

func bulk(b []byte) (s, rest []byte, err error) {
	n, rest, err := line(b, '$')
	if err != nil {
		return nil, nil, err
	}
	if len(rest) < n+2 {
		return nil, nil, errShort
	}
	return rest[:n:n], rest[n+2:], nil
}

// get gives the first value of a field.
func get(fields []Field, name string) ([]byte, bool) {
	for _, f := range fields {
		if f.Name == name {
			return f.Value, true
		}
	}
	return nil, false
}
