package outbox

import (
	"fmt"
	"strconv"
	"strings"
)

// EntryID is the ID of a stream entry: Redis's ms-seq. It is ordered by MS, then Seq.
type EntryID struct{ MS, Seq uint64 }

// ParseEntryID reads ms-seq, or ms alone for ms-0, as Redis does.
func ParseEntryID(s string) (EntryID, error) {
	ms, seq, ok := strings.Cut(s, "-")
	if !ok {
		seq = "0"
	}
	m, err1 := strconv.ParseUint(ms, 10, 64)
	q, err2 := strconv.ParseUint(seq, 10, 64)
	if err1 == nil && err2 == nil {
		return EntryID{m, q}, nil
	}
	return EntryID{},
		fmt.Errorf("entry ID %q: want <milliseconds>-<sequence>, for example 1700000000000-0", s)
}

func (id EntryID) String() string {
	b, _ := id.AppendText(nil)
	return string(b)
}

// AppendText appends the ID as Redis writes it. The error is always nil.
func (id EntryID) AppendText(b []byte) ([]byte, error) {
	b = strconv.AppendUint(b, id.MS, 10)
	b = append(b, '-')
	return strconv.AppendUint(b, id.Seq, 10), nil
}

// Compare is -1, 0 or 1 as id is before, at or after other.
func (id EntryID) Compare(other EntryID) int {
	switch {
	case id.MS < other.MS, id.MS == other.MS && id.Seq < other.Seq:
		return -1
	case id == other:
		return 0
	default:
		return 1
	}
}

// Less reports whether id is before other.
func (id EntryID) Less(other EntryID) bool { return id.Compare(other) < 0 }

// IsZero reports whether id is 0-0, which no entry can have: the position before the first entry.
func (id EntryID) IsZero() bool { return id == EntryID{} }

// Prev is the greatest ID below id; below 0-0 there is none, and it is its own.
func (id EntryID) Prev() EntryID {
	switch {
	case id.Seq > 0:
		return EntryID{id.MS, id.Seq - 1}
	case id.MS > 0:
		return EntryID{id.MS - 1, ^uint64(0)}
	}
	return EntryID{}
}

// MarshalText makes EntryID a string in JSON.
func (id EntryID) MarshalText() ([]byte, error) { return id.AppendText(nil) }

// UnmarshalText is the inverse of MarshalText.
func (id *EntryID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseEntryID(string(b))
	return err
}
