package demo

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/relay"
)

// Options say what to show. Zero values mean what their field says.
type Options struct {
	// Events is how many events the shop writes; 0: it goes on until the context ends, or writes 1,000
	// if a fault is to be planted.
	Events int
	// Rate is how many it writes a second; 0: 40 without end; with a number of events 2,500, or under
	// chaos as many as make the run take eight seconds.
	Rate int
	// Chaos kills and pauses relays meanwhile.
	Chaos bool
	// Plant is a fault that is planted when all has arrived: the kind of finding that an audit has to
	// report then. Empty: none.
	Plant consistency.Kind
	// Relays is how many run at once; 0: one, three under chaos.
	Relays int
	// Shards of the outbox; 0: 4.
	Shards int
	// Delivery of the relays.
	Delivery relay.Delivery
	// Seed of what is random in the shop and the chaos; 0: another one each time.
	Seed uint64

	// Out takes what is shown while it runs; nil: nothing is shown.
	Out io.Writer
	// Terminal says that Out can move its cursor: lines are then written over. Else there is a new one
	// each second.
	Terminal bool
	// Color allows colours; it has no effect without Terminal.
	Color bool
	// Logger takes the relays' log; nil: nobody does.
	Logger *slog.Logger
}

// The demo's times are shorter than a user's would be, so that a death and a pause pass while one
// looks.
const (
	sessionTimeout     = time.Second // how long a silent relay keeps its shards
	transactionTimeout = 3 * time.Second
	housekeeping       = 250 * time.Millisecond
	// retention in Redis of what was delivered and audited: miniredis looks at every entry of a stream
	// to read a few of it.
	retention = 500 * time.Millisecond
	// settle is that of the audits, auditPause how long they rest; without end they rest longer.
	settle         = 200 * time.Millisecond
	auditPause     = 500 * time.Millisecond
	auditLongPause = 3 * time.Second

	chaosRun = 8 * time.Second
	// patience is how long nothing may arrive before what is missing is called lost.
	patience = 15 * time.Second
)

const maxEvents = 10_000_000

// Check reports every option that is out of range.
func (o Options) Check() error {
	var errs []error
	for _, n := range []struct {
		name  string
		value int
		most  int
	}{{"events", o.Events, maxEvents}, {"rate", o.Rate, 100_000}, {"relays", o.Relays, 16}, {
		"shards",
		o.Shards, 64,
	}} {
		if n.value < 0 || n.value > n.most {
			errs = append(errs, fmt.Errorf("%s: %d, want 0 (the default) to %d", n.name, n.value, n.most))
		}
	}
	if o.Plant != "" && !slices.Contains(consistency.Kinds, o.Plant) {
		errs = append(errs, fmt.Errorf("plant: %q, want one of %v", o.Plant, consistency.Kinds))
	}
	return errors.Join(errs...)
}

func (o Options) withDefaults() (Options, error) {
	if o.Events == 0 && o.Plant != "" {
		o.Events = 1000
	}
	if o.Rate == 0 {
		switch {
		case o.Events == 0:
			o.Rate = 40
		case o.Chaos:
			o.Rate = max(1, o.Events/int(chaosRun.Seconds()))
		default:
			o.Rate = 2_500
		}
	}
	if o.Relays == 0 {
		o.Relays = 1
		if o.Chaos {
			o.Relays = 3
		}
	}
	if o.Shards == 0 {
		o.Shards = 4
	}
	for o.Seed == 0 {
		o.Seed = rand.Uint64() >> 32 // short enough to be typed
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, o.Check()
}
