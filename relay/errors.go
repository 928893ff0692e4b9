package relay

import (
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/sluice-outbox/sluice/internal/delivery"
	"github.com/sluice-outbox/sluice/outbox"
)

// This file decides what an error means for a shard. The repair is always the same (invariant 4:
// fence, read the position, read Redis, go on). The class only decides when, and what is reported.

// HaltError stops a shard until an operator or a change outside lets it go on. The relay looks
// again every few seconds, so a cause that has gone needs no restart.
type HaltError struct {
	Shard int
	// Entry is the entry that the halt is about; zero if it is about none.
	Entry outbox.EntryID
	// Reason says what happened and what to do.
	Reason string
	// Expected and Found are the evidence of an anchor mismatch.
	Expected, Found string
}

func (e *HaltError) Error() string {
	s := fmt.Sprintf("shard %d is halted: %s", e.Shard, e.Reason)
	if e.Expected != "" || e.Found != "" {
		s += fmt.Sprintf(" (expected %s, found %s)", e.Expected, e.Found)
	}
	return s
}

// Halt marks it as an error for which the shard keeps its seat.
func (e *HaltError) Halt() string { return e.Reason }

// errRestart: reading starts over to look at the entries again. Nothing is wrong with the servers.
var errRestart = errors.New("start over")

// poisonReason: the broker refuses this very record, and will refuse it again.
func poisonReason(err error) (Reason, bool) {
	switch {
	case !delivery.IsRefusal(err):
		return "", false
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge):
		return ReasonTooLarge, true
	}
	return ReasonRejected, true
}

// isWrongType: the stream's key holds another type.
func isWrongType(err error) bool { return hasPrefix(err, "WRONGTYPE") }

// isUnknownCommand: the server lacks the command or its option, as an in-memory one may.
func isUnknownCommand(err error) bool {
	for _, prefix := range []string{
		"ERR unknown", "ERR Unknown", "ERR syntax", "ERR wrong number",
		"ERR 'XGROUP",
	} {
		if hasPrefix(err, prefix) {
			return true
		}
	}
	return false
}

func hasPrefix(err error, prefix string) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if strings.HasPrefix(err.Error(), prefix) {
			return true
		}
	}
	return false
}
