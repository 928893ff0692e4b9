package demo

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// audits compares the outbox with the topics again and again, as `sluice audit --schedule` does.
type audits struct {
	auditor *consistency.Auditor
	pause   time.Duration

	mu    sync.Mutex
	sum   Audited
	upTo  []outbox.EntryID // by shard: what was compared
	again func()           // what to do when a run waits before its second look
}

// Audited is what the audits of a demo have found, all together: each goes on where the one before
// has ended.
type Audited struct {
	// Verdict of the last one, or drift if any one has found some.
	Verdict consistency.Verdict `json:"verdict"`
	Runs    int                 `json:"runs"`
	Entries int64               `json:"entries"`
	Records int64               `json:"records"`
	// Findings are how many entries and records the findings are about. Allowed duplicates are among
	// them, and what was only late is not.
	Findings int64 `json:"findings"`
	// Late entries came between two looks, as they do when a relay has died.
	Late int64 `json:"late"`
	// Pending entries had not been delivered yet when the last one ended.
	Pending int64 `json:"pending"`
	// First are the first of the findings.
	First []consistency.Finding `json:"first"`
	// Reasons why something could not be compared by the last one.
	Reasons []string `json:"reasons"`

	onlyPending bool // nothing else kept the last one from agreeing
}

func newAudits(w *world, o Options) (*audits, error) {
	a := &audits{
		pause: auditPause, upTo: make([]outbox.EntryID, o.Shards),
		sum: Audited{First: []consistency.Finding{}, Reasons: []string{}},
	}
	if o.Events == 0 {
		a.pause = auditLongPause
	}
	var err error
	a.auditor, err = consistency.New(consistency.Config{
		Outbox: outboxName, Redis: w.redis, Kafka: []kgo.Opt{w.brokers},
		Settle: settle, AllowDuplicates: o.Delivery == relay.DeliveryAtLeastOnce,
		OnPhase: a.onPhase, Logger: slog.New(slog.DiscardHandler),
	})
	return a, err
}

func (a *audits) onPhase(p consistency.Phase) {
	a.mu.Lock()
	again := a.again
	a.mu.Unlock()
	if p == consistency.LookingAgain && again != nil {
		again()
	}
}

// onSecondLook has fn called once, when a run waits before it looks again at what does not agree.
func (a *audits) onSecondLook(fn func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.again = sync.OnceFunc(fn)
}

// run audits once.
func (a *audits) run(ctx context.Context) (*consistency.Report, error) {
	r, err := a.auditor.Run(ctx)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sum.add(r)
	for _, s := range r.Range {
		a.upTo[s.Shard] = s.To
	}
	return r, nil
}

// audited is up to where a shard was compared: a relay trims no more than that, however slow the
// machine is.
func (a *audits) audited(_ context.Context, shard int) (outbox.EntryID, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.upTo[shard], nil
}

// fewFindings of all runs are remembered.
const fewFindings = 5

func (s *Audited) add(r *consistency.Report) {
	s.Runs++
	if s.Verdict != consistency.Drift {
		s.Verdict = r.Verdict
	}
	s.Pending, s.Reasons, s.onlyPending = r.Pending(), r.Incomplete, r.OnlyPending()
	s.Entries += r.Entries
	s.Records += r.Records
	for _, f := range r.Findings {
		if f.Kind != consistency.Late && len(s.First) < fewFindings {
			s.First = append(s.First, f)
		}
	}
	for k, n := range r.Counts {
		if k == consistency.Late {
			s.Late += n
		} else {
			s.Findings += n
		}
	}
}

// forever audits until stop is closed; the run that has begun then comes to its end.
func (a *audits) forever(ctx context.Context, stop <-chan struct{}) error {
	for {
		if _, err := a.run(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		timer := time.NewTimer(a.pause)
		select {
		case <-ctx.Done():
		case <-stop:
		case <-timer.C:
			continue
		}
		timer.Stop()
		return nil
	}
}

func (a *audits) state() Audited {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sum
}

// word is the verdict while the shop is open. What waits for delivery then is no fault.
func (s *Audited) word() string {
	switch {
	case s.Runs == 0:
		return "not yet"
	case s.Verdict == consistency.Agree, s.Verdict == consistency.Incomplete && s.onlyPending:
		return "agrees"
	default:
		return string(s.Verdict)
	}
}

// fine reports whether everything that was written was compared, and agrees.
func (s *Audited) fine(written int) bool {
	return s.Verdict == consistency.Agree && s.Entries >= int64(written)
}
