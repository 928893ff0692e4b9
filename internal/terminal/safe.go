package terminal

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Word is a text from outside as it can be shown in a line: control characters, line breaks,
// direction marks, characters without width and invalid bytes are written as escapes. Nothing in it
// can steer a terminal or pretend to be something else.
func Word(s string) string { return escape(s, unicode.IsPrint) }

// Text is Word for lines that are already laid out: line breaks, tabs and the styles of a Painter
// stay.
func Text(s string) string {
	var b strings.Builder
	for s != "" {
		i := strings.IndexByte(s, '\x1b')
		if i < 0 {
			i = len(s)
		}
		b.WriteString(escape(s[:i], laidOut))
		s = s[i:]
		if n := styleAt(s); n > 0 {
			b.WriteString(s[:n])
			s = s[n:]
		} else if s != "" {
			b.WriteString(`\x1b`)
			s = s[1:]
		}
	}
	return b.String()
}

// IsText reports whether b is text that can be shown as it is, over several lines.
func IsText(b []byte) bool {
	return utf8.Valid(b) && !bytes.ContainsFunc(b, func(r rune) bool { return !laidOut(r) })
}

func laidOut(r rune) bool { return unicode.IsPrint(r) || r == '\n' || r == '\t' }

// JSON is encoded JSON in which strings hold nothing that a terminal would act on. It decodes to
// the same.
func JSON(encoded string) string {
	var b strings.Builder
	for _, r := range encoded {
		switch {
		case laidOut(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := (r-0x10000)>>10+0xd800, (r-0x10000)&0x3ff+0xdc00
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// styleAt is the length of the style that s begins with; 0: it begins with none that Paint writes.
func styleAt(s string) int {
	rest, ok := strings.CutPrefix(s, "\x1b[")
	if !ok {
		return 0
	}
	code, _, ok := strings.Cut(rest, "m")
	if !ok || !slices.Contains([]Style{"0", Bold, Dim, Red, Green, Yellow, Cyan}, Style(code)) {
		return 0
	}
	return len("\x1b[") + len(code) + len("m")
}

func escape(s string, shown func(rune) bool) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case shown(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
		i += size
	}
	return b.String()
}
