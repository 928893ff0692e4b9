package consistency

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"strconv"
)

// EntryID is the ID of a stream entry, Redis's ms-seq. It is ordered by MS, then Seq. 0-0 is before
// every entry.
type EntryID struct{ MS, Seq uint64 }

// lastID is at or above every entry.
var lastID = EntryID{math.MaxUint64, math.MaxUint64}

// ParseEntryID reads ms-seq.
func ParseEntryID(s string) (EntryID, error) { return parseEntryID([]byte(s)) }

func parseEntryID(b []byte) (EntryID, error) {
	var id EntryID
	dash := bytes.IndexByte(b, '-')
	if dash <= 0 || !parseUint(b[:dash], &id.MS) || !parseUint(b[dash+1:], &id.Seq) {
		return EntryID{},
			fmt.Errorf("entry ID %q: want <milliseconds>-<sequence>, for example 1700000000000-0", clip(b))
	}
	return id, nil
}

// parseUint reads plain decimal digits, without sign or white space.
func parseUint(b []byte, v *uint64) bool {
	if len(b) == 0 || len(b) > 20 {
		return false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
		d := uint64(c - '0')
		if n > (math.MaxUint64-d)/10 {
			return false
		}
		n = n*10 + d
	}
	*v = n
	return true
}

func (id EntryID) String() string {
	b := strconv.AppendUint(make([]byte, 0, 24), id.MS, 10)
	b = append(b, '-')
	return string(strconv.AppendUint(b, id.Seq, 10))
}

// Less reports whether id is before other.
func (id EntryID) Less(other EntryID) bool {
	return id.MS < other.MS || id.MS == other.MS && id.Seq < other.Seq
}

func (id EntryID) compare(other EntryID) int {
	return cmp.Or(cmp.Compare(id.MS, other.MS), cmp.Compare(id.Seq, other.Seq))
}

// IsZero reports whether id is 0-0, which no entry can have.
func (id EntryID) IsZero() bool { return id == EntryID{} }

// before is the greatest ID below id.
func (id EntryID) before() EntryID {
	switch {
	case id.Seq > 0:
		return EntryID{id.MS, id.Seq - 1}
	case id.MS > 0:
		return EntryID{id.MS - 1, math.MaxUint64}
	}
	return EntryID{}
}

func minID(a, b EntryID) EntryID {
	if b.Less(a) {
		return b
	}
	return a
}

func maxID(a, b EntryID) EntryID {
	if a.Less(b) {
		return b
	}
	return a
}

// MarshalText makes EntryID a string in JSON.
func (id EntryID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (id *EntryID) UnmarshalText(b []byte) (err error) {
	*id, err = parseEntryID(b)
	return err
}

// clip keeps text from an entry short enough for a message.
func clip(b []byte) string {
	const most = 60
	if len(b) > most {
		return string(b[:most]) + "…"
	}
	return string(b)
}
