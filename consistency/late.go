package consistency

import (
	"fmt"
	"time"
)

// awaited are entries that a run found not delivered yet, which is later than its Config.Settle allows: (After, To], Count of them at least.
type awaited struct {
	After EntryID `json:"after"`
	To    EntryID `json:"to"`
	Count int64   `json:"count"`
	// Settle is that of the run, the least one if there were several. A run with a longer one does not call them late.
	Settle time.Duration `json:"settle"`
}

// judgeAwaited reports entries as late that an earlier run had found undelivered and that have been compared since, and notes those that are
// undelivered now. Those that turned out to be lost have been reported as such.
func (e *engine) judgeAwaited() {
	for _, s := range e.shards {
		if w := s.Awaited; w != nil && !s.Point.Less(w.To) {
			s.Awaited = nil
			n := w.Count
			if s.chance && s.chanceAt.Less(w.To) { // what came in this run's own second waiting is told by itself
				w.To, n = maxID(s.chanceAt, w.After), min(n, s.inTime)
			}
			if n -= e.lostIn(s, w); n > 0 && w.After.Less(w.To) && w.Settle >= e.settle {
				e.report.add(Finding{
					Kind: Late, Shard: s.number, Entry: w.After, Last: w.To, Count: n, Partition: -1, Offset: -1,
					Detail: fmt.Sprintf("not delivered %s after they had been added, when an earlier audit came to them; delivered since", w.Settle),
				})
			}
		}
		if s.pending == 0 {
			continue
		}
		if s.Awaited == nil {
			s.Awaited = &awaited{After: s.Point, Settle: e.settle}
		}
		s.Awaited.Settle = min(s.Awaited.Settle, e.settle)
		s.Awaited.To, s.Awaited.Count = s.watermark, max(s.Awaited.Count, s.pending)
	}
}

func (e *engine) lostIn(s *shardRun, w *awaited) (n int64) {
	for _, f := range e.report.Findings {
		if f.Kind == Lost && f.Shard == s.number && w.After.Less(f.Entry) && !w.To.Less(f.Entry) {
			n += f.Count
		}
	}
	return n
}
