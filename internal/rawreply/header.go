package rawreply

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// ErrShort is returned for a reply that ends before its end.
var ErrShort = errors.New("redis reply ends too early")

// Header reads the line at b[i:], such as "*3\r\n", and returns its type, its number and where it
// ends. A nil of any kind has number -1.
func Header(b []byte, i int) (kind byte, n, end int, err error) {
	length := bytes.IndexByte(b[i:], '\n')
	if length < 2 || b[i+length-1] != '\r' {
		return 0, 0, i, ErrShort
	}
	line := b[i : i+length-1]
	end = i + length + 1
	kind = line[0]
	switch kind {
	case '*', '$', '%', '~', '>', ':':
		if n, err = Number(line[1:]); err != nil {
			return 0, 0, end, fmt.Errorf("redis reply: bad length in %.40q", line)
		}
		return kind, n, end, nil
	case '_':
		return kind, -1, end, nil
	case '-', '!':
		return 0, 0, end, Error(line[1:])
	}
	return 0, 0, end, fmt.Errorf("redis reply: unexpected %.40q", line)
}

// Size reads the header at i quickly if it is one like "$12\r\n", of the kind. end is where it
// ends; 0: it is another, or none.
func Size(b []byte, i int, kind byte) (n, end int) {
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

// Number reads a decimal number of at most 18 characters, without an allocation.
func Number(b []byte) (int, error) {
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
