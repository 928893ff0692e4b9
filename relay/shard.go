package relay

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/sluice-outbox/sluice/outbox"
)

// shard runs one shard of this relay for as long as the relay owns it. It goes from session to
// session: each fences the earlier owners, reads the position and delivers until something fails (invariant 4).
type shard struct {
	relay *Relay
	cfg   *Config
	id    int
	key   string
	log   *slog.Logger

	quarantine *quarantine

	mu      sync.Mutex
	status  ShardStatus
	begun   bool // a session has read the position
	lastLog time.Time
}

// haltRecheck is how often a halted shard looks whether its cause has gone or an operator has moved its position.
const haltRecheck = 3 * time.Second

// fencedPause is the least wait after being fenced: the newer owner is alive, and fencing it back at once
// would only make both restart in turn.
const fencedPause = 2 * time.Second

func newShard(r *Relay, id int) *shard {
	return &shard{
		relay: r, cfg: &r.cfg, id: id, key: outbox.StreamKey(r.cfg.Outbox, id),
		log:        r.cfg.Logger.With("outbox", r.cfg.Outbox, "shard", id),
		quarantine: newQuarantine(),
		status:     ShardStatus{Shard: id, Lag: -1, OldestUndelivered: -1},
	}
}

// run returns when ctx ends and the open transaction is finished.
func (s *shard) run(ctx context.Context) {
	defer s.set(Stopped, "", nil)
	wait := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMaxInterval(10*time.Second), backoff.WithMaxElapsedTime(0))
	for ctx.Err() == nil {
		if reason, paused := s.relay.control.paused(s.id); paused {
			s.set(Paused, reason, nil)
			s.idle(ctx, s.cfg.HousekeepingInterval)
			continue
		}
		if st := s.Status().State; st == "" || st == Paused || st == Stopped {
			s.set(Starting, "", nil)
		}
		started, before := time.Now(), s.position().Entry
		err := s.session(ctx)
		if ctx.Err() != nil {
			if err != nil && !isDone(ctx, err) {
				s.log.Warn("shard stopped with an error; its next owner finds the position in Kafka", "error", err)
			}
			return
		}
		if time.Since(started) > time.Minute || s.position().Entry != before {
			wait.Reset()
		}
		var halt *HaltError
		switch {
		case errors.Is(err, errPaused):
		case errors.Is(err, errRestart):
			sleep(ctx, wait.NextBackOff())
		case errors.As(err, &halt):
			halt.Shard = s.id
			s.set(Halted, halt.Reason, halt)
			wait.Reset()
			s.idle(ctx, haltRecheck)
		case isFenced(err):
			s.set(Waiting, errFenced.Error()+"; starting over if this relay still owns it", nil)
			s.idle(ctx, max(fencedPause, wait.NextBackOff()))
		default:
			s.set(Waiting, err.Error(), nil)
			s.idle(ctx, wait.NextBackOff())
		}
	}
}

var (
	errPaused = errors.New("paused")
	// errRestart: the session ended to look at its entries anew, nothing is wrong with the servers.
	errRestart = errors.New("start over")
)

func (s *shard) session(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := s.relay.control.onPause(s.id, func() { cancel(errPaused) })
	defer stop()
	var err error
	if s.cfg.Delivery == AtLeastOnce {
		err = s.atLeastOnce(ctx)
	} else {
		err = s.exactlyOnce(ctx)
	}
	if cause := context.Cause(ctx); errors.Is(cause, errPaused) {
		return errPaused
	}
	return err
}

// Status is a copy of what is known now.
func (s *shard) Status() ShardStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// set moves the shard to a state, and tells log, observer and status hash if that is news. A reason that only
// changes its text while a server is down is logged twice a minute at most.
func (s *shard) set(state State, reason string, halt *HaltError) {
	const repeat = 30 * time.Second
	s.mu.Lock()
	next := s.status
	next.State, next.Reason = state, reason
	next.Entry, next.Expected, next.Found = "", "", ""
	if halt != nil {
		if !halt.Entry.IsZero() {
			next.Entry = halt.Entry.String()
		}
		next.Expected, next.Found = halt.Expected, halt.Found
	}
	if next == s.status {
		s.mu.Unlock()
		return
	}
	changed := s.status.State != state
	if changed {
		next.Since = time.Now()
	}
	s.status = next
	tell := changed || time.Since(s.lastLog) > repeat
	if tell {
		s.lastLog = time.Now()
	}
	status := s.status
	s.mu.Unlock()

	if tell {
		s.logState(status)
	}
	if s.cfg.Observer.StateChanged != nil {
		s.cfg.Observer.StateChanged(status)
	}
	s.relay.control.tell(status)
}

func (s *shard) logState(st ShardStatus) {
	args := []any{"state", string(st.State)}
	if st.Reason != "" {
		args = append(args, "reason", st.Reason)
	}
	if st.Expected != "" || st.Found != "" {
		args = append(args, "expected", st.Expected, "found", st.Found)
	}
	switch st.State {
	case Halted:
		s.log.Error("shard halted", args...)
	case Waiting:
		s.log.Warn("shard waiting, trying again", args...)
	case Running:
		s.log.Info("shard running", append(args, "position", st.Position.Entry.String(), "delivered", st.Position.Count)...)
	default:
		s.log.Info("shard "+string(st.State), args...)
	}
}

// committed notes a position that Kafka, or in at-least-once the consumer group, has confirmed.
func (s *shard) committed(p Position) {
	s.mu.Lock()
	s.status.Position = p
	s.mu.Unlock()
}

// begin notes the position that a session starts from.
func (s *shard) begin(p Position) {
	s.mu.Lock()
	s.status.Position, s.status.Missing, s.begun = p, p.Missing, true
	s.mu.Unlock()
}

func (s *shard) position() Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status.Position
}

// known is the position, and whether a session has read it.
func (s *shard) known() (Position, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status.Position, s.begun
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
