package inbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/retry"
)

// retrying is the record that fails now. Attempts are counted in memory: after a crash they begin
// anew.
type retrying struct {
	offset   int64
	attempts int
	wait     backoff.BackOff
}

// attempt is which run of the handler comes next for a record.
func (p *partition) attempt(offset int64) int {
	if p.failing.offset == offset {
		return p.failing.attempts + 1
	}
	return 1
}

// apply makes records take effect, in their order. It returns early when soft ends; what it has not
// committed comes again.
func (p *partition) apply(soft, hard context.Context, records []*kgo.Record) error {
	var forced *failure
	alone := false
	conflicts := 0
	for len(records) > 0 && soft.Err() == nil {
		part := records
		if alone {
			part = records[:1]
		}
		done, err := p.transact(soft, hard, part, forced)
		if done > 0 {
			records, forced, alone, conflicts = records[done:], nil, false, 0
			p.recovered()
		}
		var f *failure
		switch {
		case err == nil:
		case errors.Is(err, errConflict):
			if conflicts++; conflicts > 1 {
				_ = retry.Sleep(soft, time.Millisecond<<min(conflicts, 7))
			}
		case errors.As(err, &f) && len(records) > 0 && f.offset != records[0].Offset:
			// Those before it had no effect because of it.
			if err := p.before(soft, hard, &records, f.offset); err != nil {
				return err
			}
			alone = true
		case errors.As(err, &f):
			p.tracker.waits(records[0].Timestamp)
			if forced, err = p.judge(soft, f); err != nil {
				return err
			}
			alone = f.alone && forced == nil
		default:
			return err
		}
	}
	return nil
}

// before applies the records that stand before an offset.
func (p *partition) before(soft, hard context.Context, records *[]*kgo.Record, offset int64) error {
	n := 0
	for n < len(*records) && (*records)[n].Offset < offset {
		n++
	}
	first := (*records)[:n:n]
	if err := p.apply(soft, hard, first); err != nil || soft.Err() != nil {
		return err
	}
	*records = (*records)[n:]
	return nil
}

// judge decides what follows a failure: nil after a wait, which means another attempt; the failure
// itself, by which its record is condemned; or a halt.
func (p *partition) judge(ctx context.Context, f *failure) (*failure, error) {
	cfg := p.in.cfg
	if p.failing.wait == nil || p.failing.offset != f.offset {
		p.failing = retrying{offset: f.offset, wait: newBackoff(cfg.Retry.Wait, cfg.Retry.MaxWait)}
	}
	p.failing.attempts++
	if !f.final && p.failing.attempts < cfg.Retry.Attempts {
		p.tracker.set(Waiting, fmt.Sprintf("offset %d failed, attempt %d of %d: %s", f.offset,
			p.failing.attempts, cfg.Retry.Attempts, oneLine(f.err.Error())), f.offset, nil)
		_ = retry.Sleep(ctx, p.failing.wait.NextBackOff())
		return nil, nil
	}
	switch {
	case cfg.OnError == Halt:
		return nil, p.halt(f.offset,
			fmt.Sprintf("a record cannot be applied (%s): %s; correct the handler or what it needs, or "+
				"set on_error to dead_letter or park",
				f.reason, oneLine(f.err.Error())), "", "")
	case cfg.OnError == Park && len(p.parked) >= cfg.MaxParked:
		return nil, p.halt(f.offset,
			fmt.Sprintf("%d keys are parked, which is the most (max_parked), and another record fails "+
				"(%s): %s; replay or drop what is parked",
				len(p.parked), f.reason, oneLine(f.err.Error())), "", "")
	}
	p.log.Warn("a record becomes a dead letter", "offset", f.offset, "reason", string(f.reason),
		"policy", cfg.OnError.String(), "error", oneLine(f.err.Error()))
	return f, nil
}

// recovered notes that what had failed has not failed this time.
func (p *partition) recovered() {
	p.failing = retrying{offset: -1}
	p.tracker.set(Running, "", -1, nil)
}

func newBackoff(first, most time.Duration) backoff.BackOff {
	wait := retry.Backoff(first, most)
	wait.Multiplier = 2
	return wait
}
