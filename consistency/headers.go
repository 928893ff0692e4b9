package consistency

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// readHeaders reads a JSON object of strings, in its order, and appends it to dst. Empty text is no
// headers.
func readHeaders(dst []header, text []byte) ([]header, error) {
	if len(text) == 0 || string(text) == "{}" {
		return dst, nil
	}
	// What the writer of this project stores has no white space and mostly no escapes: that is read
	// in place. Everything else takes the slow way, which decides what is valid.
	if fast, ok := scanHeaders(dst, text); ok {
		return fast, noneTwice(fast)
	}
	slow, err := decodeHeaders(dst[:0], text)
	if err != nil {
		return dst[:0], err
	}
	return slow, noneTwice(slow)
}

func noneTwice(headers []header) error {
	for i, h := range headers {
		for _, other := range headers[:i] {
			if h.name == other.name {
				return fmt.Errorf("header %q occurs twice", clip([]byte(h.name)))
			}
		}
	}
	return nil
}

// scanHeaders reads {"a":"b","c":"d"} where no string has an escape. ok is false if there is
// anything else.
func scanHeaders(dst []header, text []byte) ([]header, bool) {
	if text[0] != '{' {
		return nil, false
	}
	rest := text[1:]
	str := func() ([]byte, bool) {
		if len(rest) == 0 || rest[0] != '"' {
			return nil, false
		}
		for i := 1; i < len(rest); i++ {
			switch c := rest[i]; {
			case c == '"':
				s := rest[1:i:i]
				rest = rest[i+1:]
				return s, utf8.Valid(s)
			case c == '\\' || c < ' ':
				return nil, false
			}
		}
		return nil, false
	}
	next := func() byte {
		if len(rest) == 0 {
			return 0
		}
		c := rest[0]
		rest = rest[1:]
		return c
	}
	for {
		name, ok := str()
		if !ok || next() != ':' {
			return nil, false
		}
		value, ok := str()
		if !ok {
			return nil, false
		}
		dst = append(dst, header{nameAgain(dst, name), value})
		switch next() {
		case ',':
		case '}':
			return dst, len(rest) == 0
		default:
			return nil, false
		}
	}
}

// nameAgain is name as a string: that of the entry before, whose headers had the memory after dst,
// if it is the same.
func nameAgain(dst []header, name []byte) string {
	if n := len(dst); n < cap(dst) {
		if before := dst[: n+1 : n+1][n].name; before == string(name) {
			return before
		}
	}
	return string(name)
}

var errNotAnObject = errors.New("want a JSON object of strings")

func decodeHeaders(dst []header, text []byte) ([]header, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("not UTF-8") // the decoder would replace what is not
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errNotAnObject
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		value, err := d.Token()
		if err != nil {
			return nil, err
		}
		n, ok1 := name.(string)
		v, ok2 := value.(string)
		if !ok1 || !ok2 {
			return nil, errNotAnObject
		}
		dst = append(dst, header{n, []byte(v)})
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if d.InputOffset() != int64(len(bytes.TrimRight(text, " \t\r\n"))) {
		return nil, errors.New("text after the object")
	}
	return dst, nil
}
