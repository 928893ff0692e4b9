package relay

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// parseHeaders reads a JSON object of string to string, appends its members to dst in their order,
// and refuses anything else. Empty input means no headers. encoding/json would lose the order and
// costs ten times as much. It only decodes strings with escapes.
func parseHeaders(dst []kgo.RecordHeader, b []byte) ([]kgo.RecordHeader, error) {
	if len(b) == 0 || string(b) == "{}" {
		return dst, nil
	}
	s := headerScanner{b: b}
	if !s.eat('{') {
		return dst, errors.New("want a JSON object of strings")
	}
	first := len(dst)
	if s.eat('}') {
		return dst, s.end()
	}
	for {
		key, err := s.str()
		if err != nil {
			return dst, err
		}
		if !s.eat(':') {
			return dst, fmt.Errorf("want ':' at byte %d", s.i)
		}
		value, err := s.str()
		if err != nil {
			return dst, fmt.Errorf("header %q: %w", clip(key), err)
		}
		for _, h := range dst[first:] {
			if h.Key == string(key) {
				return dst, fmt.Errorf("header %q occurs twice", clip(key))
			}
		}
		dst = append(dst, kgo.RecordHeader{Key: string(key), Value: value})
		if s.eat(',') {
			continue
		}
		if !s.eat('}') {
			return dst, fmt.Errorf("want ',' or '}' at byte %d", s.i)
		}
		return dst, s.end()
	}
}

type headerScanner struct {
	b []byte
	i int
}

func (s *headerScanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

func (s *headerScanner) eat(c byte) bool {
	s.space()
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

func (s *headerScanner) end() error {
	s.space()
	if s.i != len(s.b) {
		return fmt.Errorf("text after the object at byte %d", s.i)
	}
	return nil
}

func (s *headerScanner) str() ([]byte, error) {
	s.space()
	if s.i >= len(s.b) || s.b[s.i] != '"' {
		return nil, fmt.Errorf("want a string at byte %d", s.i)
	}
	start, escaped := s.i, false
	for s.i++; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '\\':
			escaped = true
			s.i++
		case c < ' ':
			return nil, fmt.Errorf("control character in a string at byte %d", s.i)
		case c == '"':
			s.i++
			if !utf8.Valid(s.b[start:s.i]) {
				return nil, errors.New("not UTF-8")
			}
			if escaped {
				var text string
				if err := json.Unmarshal(s.b[start:s.i], &text); err != nil {
					return nil, err
				}
				return []byte(text), nil
			}
			return s.b[start+1 : s.i-1 : s.i-1], nil
		}
	}
	return nil, errors.New("a string does not end")
}
