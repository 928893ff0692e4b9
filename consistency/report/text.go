package report

import (
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/internal/terminal"
	"github.com/sluice-outbox/sluice/outbox"
)

// Place is topic/partition/offset of the record, as far as they are known; empty if nothing is. It
// is printable.
func Place(f *consistency.Finding) string {
	if f.Topic == "" {
		return ""
	}
	at := Printable(f.Topic)
	if f.Partition >= 0 {
		at += "/" + strconv.Itoa(int(f.Partition))
	}
	if f.Offset >= 0 {
		at += "/" + strconv.FormatInt(f.Offset, 10)
	}
	return at
}

// From is how a range begins that begins after an entry ID: "after 5-3", or "5-0" where that is
// the first ID after it, or "the beginning".
func From(after outbox.EntryID) string {
	switch {
	case after.IsZero():
		return "the beginning"
	case after.Seq == math.MaxUint64 && after.MS < math.MaxUint64:
		return outbox.EntryID{MS: after.MS + 1}.String()
	}
	return "after " + after.String()
}

// Entries is the entry of the finding, or how many of which range.
func Entries(f *consistency.Finding) string {
	if f.Last.IsZero() {
		return f.Entry.String()
	}
	return fmt.Sprintf("%s of %s to %s", Grouped(f.Count), f.Entry, f.Last)
}

// mostPrintable bounds what is shown of one text from outside, in bytes.
const mostPrintable = 1000

// Printable is a text from outside as it can be shown: control characters, direction marks and
// invalid bytes are written as escapes, so that nothing in it can steer a terminal or pretend to be
// something else, and what is too long is cut.
func Printable(s string) string {
	if len(s) <= mostPrintable {
		return terminal.Word(s)
	}
	end := mostPrintable
	for end > mostPrintable-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end-- // a character that the cut would go through
	}
	return terminal.Word(s[:end]) + fmt.Sprintf("… (%d bytes)", len(s))
}

// Grouped is a number with its thousands apart: 1,234,567.
func Grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func plural(n int64, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return Grouped(n) + " " + more
}

func have(n int64, one, more string) string {
	if n == 1 {
		return "1 " + one + " has"
	}
	return Grouped(n) + " " + more + " have"
}
