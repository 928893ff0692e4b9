package report

import (
	"fmt"

	"github.com/sluice-outbox/sluice/consistency"
)

// Coverage says in a sentence what of the outbox audits have compared so far, this one and earlier
// ones, and whether something was taken away before they came to it.
func Coverage(r *consistency.Report) string {
	fromStart, unverified, behind := true, int64(0), 0
	for _, s := range r.Range {
		fromStart = fromStart && s.FromStart
		unverified += s.Unverified
		if s.To != s.Watermark {
			behind++
		}
	}
	var text string
	switch {
	case len(r.Range) == 0:
		return "nothing has been compared"
	case unverified > 0:
		text = fmt.Sprintf(
			"not complete: %d entries could not be compared; see the findings of this audit and of "+
				"earlier ones", unverified)
	case fromStart:
		text = "complete: every entry that was ever added has been compared"
	default:
		text = "complete since the first audit: every entry that was there then or came later has " +
			"been compared"
	}
	if behind > 0 {
		text += fmt.Sprintf("; in %d of %d shards the newest are still to come", behind, len(r.Range))
	}
	return text
}
