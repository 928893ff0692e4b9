package consistency

import (
	"fmt"
	"time"
)

// awaited are entries that a run found not delivered yet, which is later than its Config.Settle
// allows: (After, To], Count of them at least.
type awaited struct {
	After EntryID `json:"after"`
	To    EntryID `json:"to"`
	Count int64   `json:"count"`
	// Settle is that of the run, the least one if there were several. A run with a longer one does
	// not call them late.
	Settle time.Duration `json:"settle_ns"`
}

// judgeAwaited reports entries as late that an earlier run had found undelivered and that have been
// compared since, and notes those that are undelivered now. Those that turned out to be lost are in
// found already.
func judgeAwaited(s settings, shard shardRun, found []Finding) (next shardRun, late []Finding) {
	if w := shard.point.Awaited; w != nil && !shard.point.Point.Less(w.To) {
		shard.point.Awaited = nil
		after, to, n := w.After, w.To, w.Count
		if again := shard.again; again != nil && again.point.Less(to) {
			to, n = maxID(again.point, after), min(n, again.entries) // what came since is told by itself
		}
		if n -= lostIn(found, shard.number, after, to); n > 0 && after.Less(to) && w.Settle >= s.settle {
			late = append(late, Finding{
				Kind: Late, Shard: shard.number, Entry: after, Last: to, Count: n, Partition: -1, Offset: -1,
				Detail: fmt.Sprintf(
					"not delivered %s after they had been added, when an earlier audit came to them; delivered "+
						"since", w.Settle),
			})
		}
	}
	if shard.pending == 0 {
		return shard, late
	}
	w := awaited{After: shard.point.Point, Settle: s.settle}
	if shard.point.Awaited != nil {
		w = *shard.point.Awaited
	}
	w.Settle = min(w.Settle, s.settle)
	w.To, w.Count = shard.watermark, max(w.Count, shard.pending)
	shard.point.Awaited = &w
	return shard, late
}

// lostIn counts the entries of (after, to] that are lost.
func lostIn(found []Finding, shard int, after, to EntryID) (n int64) {
	for _, f := range found {
		if f.Kind == Lost && f.Shard == shard && after.Less(f.Entry) && !to.Less(f.Entry) {
			n += f.Count
		}
	}
	return n
}

// lateInSecondWait reports the entries that came while the run waited a second time.
func lateInSecondWait(s settings, shard shardRun) []Finding {
	if shard.again == nil || shard.entries == shard.again.entries {
		return nil
	}
	n := shard.entries - shard.again.entries
	return []Finding{{
		Kind: Late, Shard: shard.number, Entry: shard.again.point, Last: shard.point.Point, Count: n,
		Partition: -1, Offset: -1,
		Detail: fmt.Sprintf(
			"%d entries had no record, and neither had any later one, %s after the last of them was "+
				"written; they have now",
			n, s.settle),
	}}
}
