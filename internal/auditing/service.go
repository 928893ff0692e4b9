package auditing

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/internal/metrics"
)

// Auditor is what a Service needs of a consistency.Auditor.
type Auditor interface {
	Run(ctx context.Context) (*consistency.Report, error)
	History(ctx context.Context) ([]*consistency.Report, error)
}

// Service audits at the times of a schedule. All fields are required but for those that say
// otherwise.
type Service struct {
	Auditor  Auditor
	Schedule *Schedule
	// Turn reports whether it is this process's turn to audit; nil: always.
	Turn    func() bool
	Metrics *metrics.Audits
	// Done is told of each report; nil: nobody is. It may take its time.
	Done   func(*consistency.Report)
	Logger *slog.Logger

	mu      sync.Mutex
	problem error
}

// look is how often a Service looks whether it is its turn.
const look = 5 * time.Second

// Run audits until ctx ends, which an audit that is running does not hold up.
func (s *Service) Run(ctx context.Context) {
	next := s.Schedule.Next(time.Now())
	s.Logger.Info("audits are scheduled", "next", next.Format(time.RFC3339))
	recalled := false
	for ctx.Err() == nil {
		turn := s.Turn == nil || s.Turn()
		if recalled = recalled && turn; turn && !recalled {
			recalled = s.recall(ctx)
		}
		if now := time.Now(); !now.Before(next) {
			if turn {
				s.audit(ctx)
				s.skip(next)
			}
			if next = s.Schedule.Next(time.Now()); next.IsZero() {
				s.Logger.Error("the schedule has no more times: no audit will come")
				return
			}
		}
		t := time.NewTimer(min(look, time.Until(next)))
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

// Ready is nil unless the last audit had no report; then it is the reason.
func (s *Service) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.problem
}

// recall takes what is known of earlier audits, so that a process that has just begun does not look
// as if nobody had ever audited.
func (s *Service) recall(ctx context.Context) bool {
	reports, err := guarded(func() ([]*consistency.Report, error) { return s.Auditor.History(ctx) })
	if err != nil {
		s.Logger.Debug("earlier audits cannot be read yet", "error", err)
		return false
	}
	s.Metrics.Recall(reports)
	return true
}

func (s *Service) audit(ctx context.Context) {
	s.Logger.Debug("audit begins")
	r, err := guarded(func() (*consistency.Report, error) { return s.Auditor.Run(ctx) })
	if ctx.Err() != nil {
		return // it goes on at the same place the next time
	}
	s.mu.Lock()
	s.problem = nil
	if err != nil {
		s.problem = fmt.Errorf("the last audit failed: %w", err)
	}
	s.mu.Unlock()
	s.Metrics.Audited(r)
	if err != nil {
		s.Logger.Error("the audit failed; the next one comes at its time", "error", err)
		return
	}
	s.tell(r)
	if s.Done != nil {
		_, err := guarded(func() (struct{}, error) { s.Done(r); return struct{}{}, nil })
		if err != nil {
			s.Logger.Error("the report could not be handed on", "error", err)
		}
	}
}

// fewReasons of what could not be compared are logged; the report has all.
const fewReasons = 3

// tell logs what somebody has to do something about. That an audit was made is logged by itself.
func (s *Service) tell(r *consistency.Report) {
	show := fmt.Sprintf("sluice audit show %d", r.Run)
	switch r.Verdict {
	case consistency.Drift:
		var args []any
		for _, k := range consistency.Kinds {
			if n := r.Counts[k]; n > 0 {
				args = append(args, string(k), n)
			}
		}
		s.Logger.Error("Redis and Kafka do not agree", append(args, "evidence", show)...)
	case consistency.Incomplete:
		s.Logger.Warn("not everything could be compared",
			"reasons", r.Incomplete[:min(fewReasons, len(r.Incomplete))], "all", show)
	}
}

// skip tells of the times that have passed since an audit began that was planned for a time.
func (s *Service) skip(planned time.Time) {
	if n := s.Schedule.Passed(planned, time.Now()); n > 0 {
		s.Logger.Warn("the audit took longer than to its next time: skipped", "times", n)
		s.Metrics.Skipped(n)
	}
}

// guarded turns a panic into an error.
func guarded[T any](f func() (T, error)) (_ T, err error) {
	defer func() {
		if value := recover(); value != nil {
			err = fmt.Errorf("panic: %v\n%s", value, debug.Stack())
		}
	}()
	return f()
}
