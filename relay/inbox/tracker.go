package inbox

import (
	"log/slog"
	"sync"
	"time"
)

// tracker is what this instance knows of a partition, and tells log, observer and status hash when
// that is news.
type tracker struct {
	log      *slog.Logger
	observer *Observer
	tell     func(PartitionStatus)

	mu      sync.Mutex
	status  PartitionStatus
	oldest  time.Time // the timestamp of the first record that waits; zero: not known, or none does
	lastLog time.Time
}

func newTracker(in *Inbox, topic string, partition int32, log *slog.Logger) *tracker {
	return &tracker{
		log: log, observer: in.cfg.Observer, tell: in.control.tell,
		status: PartitionStatus{
			Topic: topic, Partition: partition, Record: -1, Lag: -1, OldestUnapplied: -1, ParkedKeys: -1,
			Instance: in.cfg.Instance,
		},
	}
}

// set moves the partition to a state. A reason that only changes its text while a server is down is
// logged twice a minute at most.
func (t *tracker) set(state State, reason string, record int64, halt *HaltError) {
	const repeat = 30 * time.Second
	t.mu.Lock()
	next := t.status
	next.State, next.Reason, next.Record, next.Expected, next.Found = state, reason, record, "", ""
	if halt != nil {
		next.Expected, next.Found = halt.Expected, halt.Found
	}
	if next == t.status {
		t.mu.Unlock()
		return
	}
	changed := t.status.State != state
	if changed {
		next.Since = time.Now()
	}
	t.status = next
	worth := changed || time.Since(t.lastLog) > repeat
	if worth {
		t.lastLog = time.Now()
	}
	t.mu.Unlock()

	if worth {
		t.logState(next)
	}
	if t.observer.StateChanged != nil {
		t.observer.StateChanged(next)
	}
	t.tell(next)
}

func (t *tracker) logState(st PartitionStatus) {
	args := []any{"state", string(st.State)}
	if st.Reason != "" {
		args = append(args, "reason", st.Reason)
	}
	if st.Expected != "" || st.Found != "" {
		args = append(args, "expected", st.Expected, "found", st.Found)
	}
	switch st.State {
	case Halted:
		t.log.Error("partition halted", args...)
	case Waiting:
		t.log.Warn("partition waits", args...)
	default:
		t.log.Info("partition state", args...)
	}
}

// known notes what Redis has.
func (t *tracker) known(pos Position, parked int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status.Position, t.status.ParkedKeys = &pos, parked
}

// committed notes a position that has moved.
func (t *tracker) committed(pos Position, parked int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if was := t.status.Position; was != nil && t.status.Lag >= 0 {
		t.status.Lag = max(0, t.status.Lag-(pos.Next-was.Next))
	}
	t.status.Position, t.status.ParkedKeys = &pos, parked
}

// measured notes how many offsets are behind the position.
func (t *tracker) measured(lag int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status.Lag = max(0, lag)
}

// waits notes the timestamp of the first record that waits; the zero time: none is known.
func (t *tracker) waits(oldest time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.oldest = oldest
}

// unknown notes that the lag is not known.
func (t *tracker) unknown() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status.Lag = -1
}

// position is the last one known; nil: none is.
func (t *tracker) position() *Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status.Position
}

// Status is a copy of what is known now.
func (t *tracker) Status() PartitionStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	st := t.status
	switch {
	case st.Lag == 0:
		st.OldestUnapplied = 0
	case !t.oldest.IsZero():
		st.OldestUnapplied = max(0, time.Since(t.oldest))
	default:
		st.OldestUnapplied = -1
	}
	return st
}
