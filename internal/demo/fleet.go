package demo

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/relay"
)

// fleet is the relays.
type fleet struct {
	world    *world
	audits   *audits
	delivery relay.Delivery
	log      *slog.Logger

	mu      sync.Mutex
	members []*member // those that were not killed, the oldest first
	born    int
	failed  chan error // the first error of a relay that ended by itself
}

// member is one relay, with a network of its own.
type member struct {
	name  string
	relay *relay.Relay
	gate  *gate
	stop  context.CancelFunc
	done  chan struct{} // closed when Run has returned

	frozen bool // under fleet.mu
}

func newFleet(w *world, a *audits, o Options) *fleet {
	return &fleet{
		world: w, audits: a, delivery: o.Delivery, log: o.Logger,
		failed: make(chan error, 1),
	}
}

// start adds a relay. It outlives ctx: it runs until it is killed or the fleet ends.
func (f *fleet) start(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.born++
	m := &member{name: fmt.Sprintf("relay-%d", f.born), gate: newGate(), done: make(chan struct{})}
	client := redis.NewClient(&redis.Options{
		Addr: f.world.miniredis.Addr(), Dialer: m.gate.dial,
		PoolSize: 64,
	})
	var err error
	m.relay, err = relay.New(relay.Config{
		Outbox: outboxName, Redis: client, Kafka: []kgo.Opt{f.world.brokers, kgo.Dialer(m.gate.dial)},
		Delivery:             f.delivery,
		Trim:                 relay.Trim{Keep: retention, Limit: f.audits.audited},
		TransactionTimeout:   transactionTimeout,
		SessionTimeout:       sessionTimeout,
		HousekeepingInterval: housekeeping,
		DrainTimeout:         time.Second,
		Instance:             m.name,
		Logger:               f.log.With("relay", m.name),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	m.stop = cancel
	f.members = append(f.members, m)
	go func() {
		defer close(m.done)
		err := m.relay.Run(ctx)
		_ = client.Close()
		if err != nil && ctx.Err() == nil {
			select {
			case f.failed <- fmt.Errorf("%s: %w", m.name, err):
			default:
			}
		}
	}()
	return nil
}

// kill ends a relay as SIGKILL would: its connections break, nothing is finished, nobody is told.
// Its goroutines find that out by themselves within some seconds, which nobody waits for: they can
// reach nothing any more.
func (f *fleet) kill(m *member) {
	f.mu.Lock()
	for i, other := range f.members {
		if other == m {
			f.members = append(f.members[:i:i], f.members[i+1:]...)
			break
		}
	}
	f.mu.Unlock()
	m.gate.cut()
	m.stop()
}

func (f *fleet) freeze(m *member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m.frozen = true
	m.gate.freeze()
}

func (f *fleet) thaw(m *member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m.frozen = false
	m.gate.thaw()
}

// up are the relays that can work.
func (f *fleet) up() []*member {
	f.mu.Lock()
	defer f.mu.Unlock()
	var up []*member
	for _, m := range f.members {
		if !m.frozen {
			up = append(up, m)
		}
	}
	return up
}

// end stops the relays that are left, in order.
func (f *fleet) end() {
	f.mu.Lock()
	members := f.members
	f.members = nil
	f.mu.Unlock()
	for _, m := range members {
		m.gate.thaw()
		m.stop()
	}
	for _, m := range members {
		<-m.done
	}
}

// memberState is a relay as the screen shows it.
type memberState struct {
	name   string
	frozen bool
	shards []int // that it runs
}

func (f *fleet) state() []memberState {
	f.mu.Lock()
	members := append([]*member(nil), f.members...)
	states := make([]memberState, len(members))
	for i, m := range members {
		states[i] = memberState{name: m.name, frozen: m.frozen}
	}
	f.mu.Unlock()
	for i, m := range members {
		for _, s := range m.relay.Status() {
			if s.State == relay.StateRunning {
				states[i].shards = append(states[i].shards, s.Shard)
			}
		}
	}
	return states
}
