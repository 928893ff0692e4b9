package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/delivery"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/internal/retry"
	"github.com/sluice-outbox/sluice/outbox"
)

// LayoutVersion is the layout version that this relay works on.
const LayoutVersion = 3

// Relay moves the entries of the shards it owns to Kafka. Make it with New; Run it once.
type Relay struct {
	cfg     Config
	control *controller

	started atomic.Bool // Run was called

	// Made by Run.
	client *kgo.Client // metadata and questions
	topics *topics
	engine *delivery.Engine
	waiter *waiter      // nil: each stream waits for itself
	shards atomic.Int64 // of the layout

	mu      sync.Mutex
	streams map[int]*stream // of the shards that this relay owns
	member  func() bool     // whether the group has this relay; nil before it is asked to
	problem error           // why this relay is not ready, apart from its shards
}

// New checks the configuration. It does not talk to any server.
func New(cfg Config) (*Relay, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Relay{
		cfg: cfg, control: newController(&cfg), waiter: newWaiter(cfg.Redis), streams: map[int]*stream{},
		problem: errors.New("not started"),
	}, nil
}

// Run delivers until ctx ends; then it finishes the open transactions, gives its shards back and
// returns nil. It waits for servers that cannot be reached. It returns an error only for what
// waiting cannot mend: a layout that this version does not know, for example. A Relay runs once: a
// second call is an error, also after the first has returned.
func (r *Relay) Run(ctx context.Context) error {
	if r.started.Swap(true) {
		return errors.New("relay: Run was called before: make another Relay with New")
	}
	client, err := kgo.NewClient(clientOpts(&r.cfg)...)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	defer client.Close()
	r.client = client
	r.topics = newTopics(client, r.cfg.Topics, func() int {
		return int(r.shards.Load())
	}, r.cfg.Logger)

	if err := r.waitForServers(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	engine := newEngine(&r.cfg, client, r.topics)
	r.mu.Lock()
	r.engine = engine // Status asks for it
	r.mu.Unlock()
	beside, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { r.control.run(beside, r.cfg.HousekeepingInterval, r.Status, r.engine.Wake) })
	if r.waiter != nil {
		wg.Go(func() { r.waiter.run(beside) })
	}
	defer wg.Wait()
	defer stop()
	defer r.engine.Close()

	r.cfg.Logger.Info("relay started", "outbox", r.cfg.Outbox, "instance", r.cfg.Instance,
		"delivery", r.cfg.Delivery.String(), "shards", r.shards.Load())
	defer r.cfg.Logger.Info("relay stopped", "outbox", r.cfg.Outbox, "instance", r.cfg.Instance)
	if r.cfg.Assign != nil {
		return r.runAssigned(ctx)
	}
	return delivery.Membership{
		Group: names.RelayGroup(r.cfg.Outbox), Topic: names.PositionsTopic(r.cfg.Outbox),
		Client:         clientOpts(&r.cfg),
		SessionTimeout: r.cfg.SessionTimeout, RebalanceTimeout: r.cfg.DrainTimeout + 2*time.Second,
		Source: r.source, Joined: r.setMember,
	}.Run(ctx, r.engine)
}

// runAssigned owns fixed shards until ctx ends.
func (r *Relay) runAssigned(ctx context.Context) error {
	for _, id := range r.cfg.Assign {
		r.engine.Add(ctx, id, func() delivery.Source { return r.source(id) })
	}
	r.setMember(func() bool { return true })
	<-ctx.Done()
	r.engine.Remove(r.engine.Shards()...)
	return nil
}

// source makes the source of a shard that this relay owns from now on.
func (r *Relay) source(id int) delivery.Source {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.streams[id] = newStream(r, id)
	return r.streams[id]
}

func (r *Relay) setMember(member func() bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.member = member
}

// waitForServers reads the layout and looks for the positions topic until both servers answer. An
// unknown layout is an error; a missing one is waited for.
func (r *Relay) waitForServers(ctx context.Context) error {
	wait := retry.Backoff(200*time.Millisecond, 10*time.Second)
	var logged string
	var loggedAt time.Time
	for {
		err := r.checkServers(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var unknown *unknownLayoutError
		if err == nil || errors.As(err, &unknown) {
			r.setProblem(err)
			return err
		}
		r.setProblem(err)
		if text := err.Error(); text != logged && time.Since(loggedAt) > time.Second ||
			time.Since(loggedAt) > 30*time.Second {
			r.cfg.Logger.Warn("relay waits for its servers, trying again", "outbox", r.cfg.Outbox,
				"error", err)
			logged, loggedAt = text, time.Now()
		}
		_ = retry.Sleep(ctx, wait.NextBackOff())
	}
}

func (r *Relay) checkServers(ctx context.Context) error {
	layout, err := outbox.ReadLayout(ctx, r.cfg.Redis, r.cfg.Outbox)
	if err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	if layout.Version < LayoutVersion {
		return fmt.Errorf(
			"redis: outbox %q has layout version %d, the relay needs %d: run sluice migrate apply",
			r.cfg.Outbox, layout.Version, LayoutVersion)
	}
	if layout.Version > LayoutVersion || layout.Format != outbox.FormatVersion {
		return &unknownLayoutError{outbox.LayoutError{
			Outbox: r.cfg.Outbox,
			Reason: fmt.Sprintf("version %d and format %d, this relay knows version %d and format %d",
				layout.Version, layout.Format, LayoutVersion, outbox.FormatVersion),
		}}
	}
	for _, s := range r.cfg.Assign {
		if s >= layout.Shards {
			return &unknownLayoutError{outbox.LayoutError{
				Outbox: r.cfg.Outbox,
				Reason: fmt.Sprintf("shard %d is assigned, the outbox has shards 0 to %d", s, layout.Shards-1),
			}}
		}
	}
	r.shards.Store(int64(layout.Shards))
	probe, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := r.client.Ping(probe); err != nil {
		return fmt.Errorf("kafka: no broker answers: %w", err)
	}
	details, err := kadm.NewClient(r.client).ListTopics(probe, names.PositionsTopic(r.cfg.Outbox),
		r.cfg.DeadLetter.Topic)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	needed := []string{names.PositionsTopic(r.cfg.Outbox)}
	if len(r.cfg.DeadLetter.On) > 0 {
		needed = append(needed, r.cfg.DeadLetter.Topic)
	}
	for _, topic := range needed {
		switch err := details[topic].Err; {
		case errors.Is(err, kerr.UnknownTopicOrPartition):
			return fmt.Errorf("kafka: topic %s does not exist: run sluice migrate apply", topic)
		case err != nil:
			return fmt.Errorf("kafka: topic %s: %w", topic, err)
		}
	}
	if n := len(details[needed[0]].Partitions); n != layout.Shards {
		return fmt.Errorf(
			"kafka: topic %s has %d partitions, the outbox %d shards: run sluice migrate status", needed[0],
			n, layout.Shards)
	}
	return nil
}

// unknownLayoutError is a layout that waiting does not change. A layout that cannot be read is
// none: somebody may be writing it.
type unknownLayoutError struct{ outbox.LayoutError }

func (e *unknownLayoutError) Unwrap() error { return &e.LayoutError }

func (r *Relay) setProblem(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problem = err
}

// Status is a copy of what this relay knows of the shards it owns, in their order.
func (r *Relay) Status() []ShardStatus {
	r.mu.Lock()
	engine := r.engine
	r.mu.Unlock()
	if engine == nil {
		return nil
	}
	owned := engine.Shards()
	slices.Sort(owned)
	r.mu.Lock()
	defer r.mu.Unlock()
	status := make([]ShardStatus, 0, len(owned))
	for _, id := range owned {
		if s := r.streams[id]; s != nil {
			status = append(status, s.tracker.Status())
		}
	}
	return status
}

// Ready is nil when this relay has joined and every shard it owns runs or is paused on purpose. A
// relay that owns no shard because there are more relays than shards is ready.
func (r *Relay) Ready() error {
	r.mu.Lock()
	problem, member := r.problem, r.member
	r.mu.Unlock()
	if problem != nil {
		return problem
	}
	if member == nil || !member() {
		return errors.New("not yet a member of the relay group " + names.RelayGroup(r.cfg.Outbox))
	}
	var errs []error
	for _, st := range r.Status() {
		if st.State != StateRunning && st.State != StatePaused {
			errs = append(errs, fmt.Errorf("shard %d is %s: %s", st.Shard, st.State, st.Reason))
		}
	}
	return errors.Join(errs...)
}
