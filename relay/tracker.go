package relay

import (
	"log/slog"
	"sync"
	"time"
)

// tracker holds what this relay knows of one shard. It reports a changed state to log, observer and
// status hash.
type tracker struct {
	log      *slog.Logger
	observer *Observer
	tell     func(ShardStatus)

	mu      sync.Mutex
	status  ShardStatus
	begun   bool // the position has been read
	lastLog time.Time
}

func newTracker(cfg *Config, shard int, log *slog.Logger, tell func(ShardStatus)) *tracker {
	return &tracker{
		log: log, observer: cfg.Observer, tell: tell,
		status: ShardStatus{Shard: shard, Lag: -1, OldestUndelivered: -1},
	}
}

// Status is a copy of what is known now.
func (t *tracker) Status() ShardStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status
}

// set moves the shard to a state. A reason that only changes its text while a server is down is
// logged twice a minute at most.
func (t *tracker) set(state State, reason string, halt *HaltError) {
	const repeat = 30 * time.Second
	t.mu.Lock()
	next := t.status
	next.State, next.Reason = state, reason
	next.Entry, next.Expected, next.Found = "", "", ""
	if halt != nil {
		if !halt.Entry.IsZero() {
			next.Entry = halt.Entry.String()
		}
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
	tell := changed || time.Since(t.lastLog) > repeat
	if tell {
		t.lastLog = time.Now()
	}
	status := t.status
	t.mu.Unlock()

	if tell {
		t.logState(status)
	}
	if t.observer.StateChanged != nil {
		t.observer.StateChanged(status)
	}
	t.tell(status)
}

func (t *tracker) logState(st ShardStatus) {
	args := []any{"state", string(st.State)}
	if st.Reason != "" {
		args = append(args, "reason", st.Reason)
	}
	if st.Expected != "" || st.Found != "" {
		args = append(args, "expected", st.Expected, "found", st.Found)
	}
	switch st.State {
	case StateHalted:
		t.log.Error("shard halted", args...)
	case StateWaiting:
		t.log.Warn("shard waiting, trying again", args...)
	case StateRunning:
		t.log.Info("shard running",
			append(args, "position", st.Position.Entry.String(), "delivered", st.Position.Count)...)
	default:
		t.log.Info("shard "+string(st.State), args...)
	}
}

// committed notes a position that Kafka, or in at-least-once the consumer group, has confirmed.
func (t *tracker) committed(p Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status.Position = p
}

// begin notes the position that delivery starts from.
func (t *tracker) begin(p Position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status.Position, t.status.Missing, t.begun = p, p.Missing, true
}

func (t *tracker) position() Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status.Position
}

// known returns the position, and whether it has been read.
func (t *tracker) known() (Position, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status.Position, t.begun
}

// missing counts the entries that are known to have been gone before delivery.
func (t *tracker) missing() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status.Missing
}

// lost adds to missing, and returns the sum.
func (t *tracker) lost(n int64) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status.Missing += uint64(n)
	return t.status.Missing
}

func (t *tracker) measured(lag int64, oldest time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status.Lag, t.status.OldestUndelivered = lag, oldest
}

func (t *tracker) trimHeld(held time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.status.TrimHeld = held
}
