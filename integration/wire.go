package integration

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// scanner finds the ends of requests, or of replies, in a stream of bytes that comes in pieces.
type scanner interface {
	// next consumes n bytes, at most to the end of one message. complete tells that the message ended
	// with them; name is then the name of a request.
	next(p []byte) (n int, name string, complete bool)
}

type protocol struct {
	requests func() scanner
	replies  func() scanner
}

var (
	kafkaProtocol = protocol{
		requests: func() scanner { return &kafkaScanner{} },
		replies:  func() scanner { return &kafkaScanner{} },
	}
	redisProtocol = protocol{
		requests: func() scanner { return &respScanner{} },
		replies:  func() scanner { return &respScanner{} },
	}
)

// kafkaScanner knows that a message is four bytes of size and that many more, and that a request
// begins with two bytes of key.
type kafkaScanner struct {
	head [6]byte
	have int // bytes of the message seen
}

func (s *kafkaScanner) next(p []byte) (int, string, bool) {
	n := 0
	for ; s.have < len(s.head) && n < len(p); n++ {
		s.head[s.have] = p[n]
		s.have++
	}
	if s.have < len(s.head) {
		return n, "", false
	}
	rest := 4 + int(binary.BigEndian.Uint32(s.head[:])) - s.have
	if rest > len(p)-n {
		s.have += len(p) - n
		return len(p), "", false
	}
	s.have = 0
	return n + rest, kmsg.NameForKey(int16(binary.BigEndian.Uint16(s.head[4:]))), true
}

// respScanner knows RESP2 and RESP3. A request is an array whose first bulk string is the command.
// A push message counts for nothing, as no request asked for it.
type respScanner struct {
	line  []byte
	skip  int   // bytes of a bulk string and its line end still to come
	open  []int // elements still to come of each aggregate that is not complete
	push  bool  // the outermost aggregate is a push message
	first bool  // the bulk string in skip is the first of its message
	name  []byte
}

func (s *respScanner) next(p []byte) (int, string, bool) {
	for n := 0; n < len(p); {
		if s.skip > 0 {
			take := min(s.skip, len(p)-n)
			if s.first && len(s.name) < 64 {
				s.name = append(s.name, p[n:n+take]...)
			}
			n += take
			s.skip -= take
			if s.skip > 0 {
				break
			}
			s.first = false
			if s.element() {
				return n, s.take(), true
			}
			continue
		}
		end := bytes.IndexByte(p[n:], '\n')
		if end < 0 {
			s.line = append(s.line, p[n:]...)
			break
		}
		s.line = append(s.line, p[n:n+end+1]...)
		n += end + 1
		done := s.header()
		s.line = s.line[:0]
		if done {
			return n, s.take(), true
		}
	}
	return len(p), "", false
}

// header takes a whole line; it reports whether a message ended with it.
func (s *respScanner) header() bool {
	text := strings.TrimRight(string(s.line), "\r\n")
	if text == "" {
		return false
	}
	size, err := strconv.Atoi(text[1:])
	switch text[0] {
	case '$', '=', '!':
		if err != nil || size < 0 {
			return s.element()
		}
		s.skip = size + 2
		s.first = len(s.open) == 1 && len(s.name) == 0
		return false
	case '%':
		size *= 2
	case '*', '~':
	case '>':
		s.push = len(s.open) == 0
	default:
		return s.element()
	}
	if err != nil || size <= 0 {
		return s.element()
	}
	s.open = append(s.open, size)
	return false
}

// element takes note that an element is complete, and with it perhaps the aggregates around it. It
// reports whether a message is.
func (s *respScanner) element() bool {
	for len(s.open) > 0 {
		last := len(s.open) - 1
		s.open[last]--
		if s.open[last] > 0 {
			return false
		}
		s.open = s.open[:last]
	}
	if s.push {
		s.push = false
		s.name = s.name[:0]
		return false
	}
	return true
}

func (s *respScanner) take() string {
	name := strings.ToUpper(strings.TrimRight(string(s.name), "\r\n"))
	s.name = s.name[:0]
	return name
}
