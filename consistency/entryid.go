package consistency

import (
	"bytes"
	"fmt"
	"math"

	"github.com/sluice-outbox/sluice/outbox"
)

// EntryID is that of package outbox, under a name that pure code can use without importing it.
type EntryID = outbox.EntryID

// lastID is at or above every entry.
var lastID = EntryID{MS: math.MaxUint64, Seq: math.MaxUint64}

// parseEntryID reads ms-seq from a reply or a record. It is not the parser of the writer and the
// relay, so that a mistake of that one shows.
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

// clip keeps text from an entry short enough for a message.
func clip(b []byte) string {
	const most = 60
	if len(b) > most {
		return string(b[:most]) + "…"
	}
	return string(b)
}
