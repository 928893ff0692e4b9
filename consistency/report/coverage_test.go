package report

import (
	"testing"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/outbox"
)

func TestCoverage(t *testing.T) {
	t.Parallel()
	done := consistency.ShardRange{
		FromStart: true, To: outbox.EntryID{MS: 5},
		Watermark: outbox.EntryID{MS: 5},
	}
	later, behind, removed := done, done, done
	later.FromStart = false
	behind.Watermark.MS++
	removed.Unverified = 3
	for _, x := range []struct {
		want   string
		ranges []consistency.ShardRange
	}{
		{"nothing has been compared", nil},
		{
			"complete: every entry that was ever added has been compared",
			[]consistency.ShardRange{done, done},
		},
		{"complete since the first audit: every entry that was there then or came later has been " +
			"compared", []consistency.ShardRange{done, later}},
		{
			"not complete: 6 entries could not be compared; see the findings of this audit and of " +
				"earlier ones",
			[]consistency.ShardRange{removed, later, removed},
		},
		{
			"complete: every entry that was ever added has been compared; in 1 of 2 shards the newest " +
				"are still to come",
			[]consistency.ShardRange{behind, done},
		},
	} {
		if got := Coverage(&consistency.Report{Range: x.ranges}); got != x.want {
			t.Errorf("got  %s\nwant %s", got, x.want)
		}
	}
}
