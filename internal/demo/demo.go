package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/sluice-outbox/sluice/internal/retry"
	"github.com/sluice-outbox/sluice/outbox"
)

// Run shows Sluice at work until Options.Events are written or ctx ends, then waits for what is
// still on its way and gives the verdict. The error is for what kept it from having one; a verdict
// that is not fine is no error.
func Run(ctx context.Context, o Options) (*Verdict, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	// An interrupt ends the shop. The rest goes on until everything has arrived.
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	w, err := newWorld(inner, o.Shards)
	if err != nil {
		return nil, err
	}
	defer w.close()
	writer, err := outbox.NewWriter(w.redis, outbox.Config{Outbox: outboxName})
	if err != nil {
		return nil, err
	}
	a, err := newAudits(w, o)
	if err != nil {
		return nil, err
	}
	d := &demo{
		Options: o, ledger: newLedger(), fleet: newFleet(w, a, o), audits: a,
		started: time.Now(),
	}
	d.shop = &shop{writer: writer, ledger: d.ledger, limit: o.Events, rate: o.Rate, seed: o.Seed}
	// The first audit comes before the shop opens, so that everything is in the range of one.
	if _, err := d.audits.run(inner); err != nil {
		return nil, err
	}
	d.chaos = &chaos{fleet: d.fleet, rng: rand.New(rand.NewPCG(o.Seed, 0))}
	defer d.fleet.end()
	for range o.Relays {
		if err := d.fleet.start(inner); err != nil {
			return nil, err
		}
	}
	d.background(inner, cancel, func(ctx context.Context) error { return consume(ctx, w, d.ledger) })
	d.background(inner, cancel, func(ctx context.Context) error {
		select {
		case err := <-d.fleet.failed:
			return err
		case <-ctx.Done():
			return nil
		}
	})
	showing, stopShowing := context.WithCancel(inner)
	defer stopShowing()
	shown := d.show(showing)
	v, err := d.play(ctx, inner)
	stopShowing()
	<-shown
	if err != nil {
		return nil, err
	}
	if o.Plant != "" && v.OK {
		if v.Planted, err = d.plant(inner, w, writer); err != nil {
			return nil, err
		}
	}
	cancel(nil)
	v.write(o.Out, o.Color && o.Terminal)
	if o.Plant != "" && v.Planted == nil {
		fmt.Fprintln(o.Out,
			"\nNothing was planted: without a fault of its own making this run was not fine already.")
	}
	return v, nil
}

// demo is one run.
type demo struct {
	Options
	ledger  *ledger
	fleet   *fleet
	shop    *shop
	chaos   *chaos
	audits  *audits
	started time.Time
}

// background runs fn until inner ends; an error of fn ends the run.
func (d *demo) background(inner context.Context, cancel context.CancelCauseFunc,
	fn func(context.Context) error,
) {
	go func() {
		if err := fn(inner); err != nil {
			cancel(err)
		}
	}()
}

// play is the shop's time, with or without chaos, and what follows it. outer ends the shop, inner
// everything.
func (d *demo) play(outer, inner context.Context) (*Verdict, error) {
	open, closeShop := context.WithCancel(inner)
	defer closeShop()
	defer context.AfterFunc(outer, closeShop)()
	quiet := make(chan error, 1)
	if d.Chaos {
		go func() { quiet <- d.chaos.run(open) }()
	} else {
		quiet <- nil
	}
	audited, last := make(chan error, 1), make(chan struct{})
	go func() { audited <- d.audits.forever(inner, last) }()
	began := time.Now()
	if err := d.shop.run(open); err != nil {
		return nil, err
	}
	closeShop()
	if err := <-quiet; err != nil {
		return nil, err
	}
	if err := d.drain(inner); err != nil {
		return nil, err
	}
	close(last)
	if err := <-audited; err != nil {
		return nil, err
	}
	if _, err := d.audits.run(inner); err != nil {
		return nil, err
	}
	return d.verdict(began), nil
}

// drain waits until everything has arrived, and then a little longer for what should not. It gives
// up when nothing has arrived for a while.
func (d *demo) drain(ctx context.Context) error {
	for {
		c, _, _, moved := d.ledger.state()
		if c.Delivered >= c.Written && d.ledger.lost() == 0 || time.Since(moved) > patience {
			break
		}
		if !retry.Until(ctx, time.Now().Add(20*time.Millisecond)) {
			return context.Cause(ctx)
		}
	}
	after := 200 * time.Millisecond
	if d.Chaos {
		after = sessionTimeout // whoever was paused has come back and tried
	}
	if !retry.Until(ctx, time.Now().Add(after)) {
		return fmt.Errorf("ended before everything had arrived: %w", context.Cause(ctx))
	}
	return nil
}
