package inbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// haltRecheck is how often a halted partition looks whether it can go on, so that a cause that has
// gone, or a position that was reset, needs no restart.
const haltRecheck = 5 * time.Second

// partition applies the records of one partition while this instance owns it. Its fields belong to
// the goroutine of run.
type partition struct {
	in      *Inbox
	topic   string
	number  int32
	log     *slog.Logger
	tracker *tracker
	wake    chan struct{} // has a token when an operator's wish may have changed

	layout *Layout
	keys   keys
	// The position, as this instance has read or written it last. raw is its text, by which
	// another's is told apart; empty: there is none in Redis.
	pos       Position
	raw       string
	reached   int64 // the furthest that this instance has seen the position, in the topic reachedIn
	reachedIn TopicID
	parked    map[string]parkedKey
	failing   retrying
	moved     int64 // pos.Next when markers were last passed
}

func newPartition(in *Inbox, topic string, number int32) *partition {
	log := in.cfg.Logger.With("inbox", in.cfg.Inbox, "topic", topic, "partition", number)
	return &partition{
		in: in, topic: topic, number: number, log: log, tracker: newTracker(in, topic, number, log),
		wake:    make(chan struct{}, 1),
		failing: retrying{offset: -1}, moved: -1,
	}
}

// run applies until ctx ends. Then the transaction that is under way may take the drain time-out.
func (p *partition) run(ctx context.Context) {
	hard, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(p.in.cfg.DrainTimeout, cancel) })
	defer stop()
	wait := newBackoff(100*time.Millisecond, 10*time.Second)
	for ctx.Err() == nil {
		began := time.Now()
		err := p.session(ctx, hard)
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > 30*time.Second {
			wait.Reset()
		}
		p.pause(ctx, err, wait.NextBackOff())
	}
	p.tracker.unknown()
	p.tracker.set(Stopped, "", -1, nil)
}

// pause says why the partition does not go on, and waits until it may.
func (p *partition) pause(ctx context.Context, err error, backoff time.Duration) {
	var halt *HaltError
	var loss *kgo.ErrDataLoss
	if errors.As(err, &loss) {
		halt = p.truncated(loss)
	}
	if halt == nil && !errors.As(err, &halt) || halt.Offset < 0 {
		p.tracker.waits(time.Time{}) // else it waits at that record
	}
	switch {
	case errors.Is(err, errPaused):
		p.tracker.set(Paused, err.Error(), -1, nil)
		backoff = time.Hour // until woken
	case halt != nil:
		p.tracker.set(Halted, halt.Reason, halt.Offset, halt)
		backoff = haltRecheck
	case errors.Is(err, errOvertaken):
		p.log.Warn("begins again from the position in Redis: another instance works on the partition, "+
			"somebody has reset it, or Redis has lost its last writes", "error", err)
		p.tracker.set(Waiting, oneLine(err.Error()), -1, nil)
	case err != nil:
		p.tracker.set(Waiting, oneLine(err.Error()), -1, nil)
	}
	t := time.NewTimer(backoff)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.wake:
	case <-ctx.Done():
	}
}

// session is from the reading of the position to the first thing that is not as it was.
func (p *partition) session(ctx, hard context.Context) error {
	if why, paused := p.in.control.paused(p.topic, p.number); paused {
		return fmt.Errorf("%w%s", errPaused, why)
	}
	if st := p.tracker.Status().State; st == "" || st == Paused {
		p.tracker.set(Starting, "", -1, nil)
	}
	if err := p.begin(hard); err != nil {
		return err
	}
	src := p.in.fetcher.add(p.topic, p.number, p.pos)
	defer p.in.fetcher.remove(src)
	if p.failing.offset < 0 { // else it runs when the record that had failed has taken effect
		p.tracker.set(Running, "", -1, nil)
	}
	return p.work(ctx, hard, src)
}

// work applies what is fetched.
func (p *partition) work(ctx, hard context.Context, src *source) error {
	tick := time.NewTicker(p.in.cfg.HousekeepingInterval)
	defer tick.Stop()
	idle := false // nothing was taken since the last tick
	for ctx.Err() == nil {
		records, err := p.in.fetcher.take(src, p.in.cfg.MaxRecords, p.in.cfg.MaxBytes)
		if err != nil {
			return err
		}
		if len(records) > 0 {
			idle = false
			p.tracker.waits(records[0].Timestamp)
			if err := p.expected(records); err != nil {
				return err
			}
			if err := p.apply(ctx, hard, records); err != nil {
				return err
			}
			select {
			case <-tick.C:
			case <-p.wake:
			default:
				continue
			}
		} else {
			p.tracker.waits(time.Time{})
			select {
			case <-ctx.Done():
				return nil
			case <-src.ready:
				continue
			case <-p.wake:
			case <-tick.C:
			}
		}
		if err := p.tend(ctx, hard, idle); err != nil {
			return err
		}
		idle = true
	}
	return nil
}

// expected refuses records that do not stand behind the position: the consumer was set back,
// because the log was cut off.
func (p *partition) expected(records []*kgo.Record) error {
	if first := records[0].Offset; first < p.pos.Next {
		return fmt.Errorf("kafka: %s: offset %d came behind %d", place(p.topic, p.number), first,
			p.pos.Next-1)
	}
	return nil
}

// tend does what is due now and then.
func (p *partition) tend(ctx, hard context.Context, idle bool) error {
	if why, paused := p.in.control.paused(p.topic, p.number); paused {
		return fmt.Errorf("%w%s", errPaused, why)
	}
	wishes, err := p.look(hard)
	if err != nil {
		return err
	}
	if err := p.replayWanted(hard, wishes); err != nil {
		return err
	}
	if idle && p.moved != p.pos.Next && ctx.Err() == nil {
		if err := p.passMarkers(ctx); err != nil {
			return err
		}
		p.moved = p.pos.Next
	}
	return nil
}
