package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/outbox"
)

// LayoutVersion is the layout version that this relay works on.
const LayoutVersion = 2

// Relay moves the entries of the shards it owns to Kafka. Make it with New; Run it once.
type Relay struct {
	cfg     Config
	control *control
	budget  *budget

	// Made by Run.
	client *kgo.Client // metadata and positions
	topics *topics
	shards atomic.Int64 // of the layout

	warnDenied sync.Once // see endHanging

	mu      sync.Mutex
	owned   map[int]*ownership
	member  func() bool // whether the group has this relay; nil before it is asked to
	problem error       // why this relay is not ready, beside its shards
}

// ownership is a running shard.
type ownership struct {
	shard *shard
	stop  context.CancelFunc
	done  chan struct{}
}

// New checks the configuration. It does not talk to any server.
func New(cfg Config) (*Relay, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Relay{
		cfg: cfg, control: newControl(&cfg), budget: newBudget(int64(cfg.MaxInFlight)),
		owned: map[int]*ownership{}, problem: errors.New("not started"),
	}, nil
}

// Run delivers until ctx ends; then it finishes the open transactions, gives its shards back and returns nil. It
// waits for servers that cannot be reached. It returns an error only for what waiting cannot mend: a layout that
// this version does not know, for example.
func (r *Relay) Run(ctx context.Context) error {
	client, err := kgo.NewClient(clientOpts(&r.cfg)...)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	defer client.Close()
	r.client = client
	r.topics = newTopics(client, r.cfg.Topics, func() int { return int(r.shards.Load()) }, r.cfg.Logger)

	if err := r.waitForServers(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	controlled, stopControl := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { r.control.run(controlled, r.cfg.HousekeepingInterval, r.Status) })
	defer wg.Wait()
	defer stopControl()

	r.cfg.Logger.Info("relay started", "outbox", r.cfg.Outbox, "instance", r.cfg.Instance, "delivery", r.cfg.Delivery.String(), "shards", r.shards.Load())
	defer r.cfg.Logger.Info("relay stopped", "outbox", r.cfg.Outbox, "instance", r.cfg.Instance)
	if r.cfg.Assign != nil {
		return r.runAssigned(ctx)
	}
	return r.runGroup(ctx)
}

// waitForServers reads the layout and looks for the positions topic, and tries until both servers answer. A
// layout that is there and unknown is an error; one that is not there yet is waited for.
func (r *Relay) waitForServers(ctx context.Context) error {
	wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(200*time.Millisecond), backoff.WithMaxInterval(10*time.Second), backoff.WithMaxElapsedTime(0))
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
		if text := err.Error(); text != logged && time.Since(loggedAt) > time.Second || time.Since(loggedAt) > 30*time.Second {
			r.cfg.Logger.Warn("relay waits for its servers, trying again", "outbox", r.cfg.Outbox, "error", err)
			logged, loggedAt = text, time.Now()
		}
		sleep(ctx, wait.NextBackOff())
	}
}

func (r *Relay) checkServers(ctx context.Context) error {
	layout, err := outbox.ReadLayout(ctx, r.cfg.Redis, r.cfg.Outbox)
	if err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	if layout.Version < LayoutVersion {
		return fmt.Errorf("redis: outbox %q has layout version %d, the relay needs %d: run sluice migrate apply", r.cfg.Outbox, layout.Version, LayoutVersion)
	}
	if layout.Version > LayoutVersion || layout.Format != outbox.FormatVersion {
		return &unknownLayoutError{outbox.LayoutError{Outbox: r.cfg.Outbox, Reason: fmt.Sprintf("version %d and format %d, this relay knows version %d and format %d", layout.Version, layout.Format, LayoutVersion, outbox.FormatVersion)}}
	}
	for _, s := range r.cfg.Assign {
		if s >= layout.Shards {
			return &unknownLayoutError{outbox.LayoutError{Outbox: r.cfg.Outbox, Reason: fmt.Sprintf("shard %d is assigned, the outbox has shards 0 to %d", s, layout.Shards-1)}}
		}
	}
	r.shards.Store(int64(layout.Shards))
	probe, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := r.client.Ping(probe); err != nil {
		return fmt.Errorf("kafka: no broker answers: %w", err)
	}
	details, err := kadm.NewClient(r.client).ListTopics(probe, outbox.PositionsTopic(r.cfg.Outbox), r.cfg.DeadLetter.Topic)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	needed := []string{outbox.PositionsTopic(r.cfg.Outbox)}
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
		return fmt.Errorf("kafka: topic %s has %d partitions, the outbox %d shards: run sluice migrate status", needed[0], n, layout.Shards)
	}
	return nil
}

// unknownLayoutError is a layout that waiting does not mend. One that cannot be read may be in the making.
type unknownLayoutError struct{ outbox.LayoutError }

func (e *unknownLayoutError) Unwrap() error { return &e.LayoutError }

func (r *Relay) setProblem(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problem = err
}

// start runs a shard beside the others.
func (r *Relay) start(ctx context.Context, id int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.owned[id]; ok {
		return
	}
	ctx, stop := context.WithCancel(ctx)
	o := &ownership{shard: newShard(r, id), stop: stop, done: make(chan struct{})}
	r.owned[id] = o
	go func() {
		defer close(o.done)
		o.shard.run(ctx)
	}()
}

// stop ends shards and returns when their open transactions are finished or abandoned.
func (r *Relay) stop(ids ...int) {
	r.mu.Lock()
	var ending []*ownership
	for _, id := range ids {
		if o, ok := r.owned[id]; ok {
			ending = append(ending, o)
			o.stop()
		}
	}
	r.mu.Unlock()
	for _, o := range ending {
		<-o.done
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range ending {
		if r.owned[o.shard.id] == o {
			delete(r.owned, o.shard.id)
		}
	}
}

func (r *Relay) stopAll() {
	r.mu.Lock()
	ids := make([]int, 0, len(r.owned))
	for id := range r.owned {
		ids = append(ids, id)
	}
	r.mu.Unlock()
	r.stop(ids...)
}

// Status is a copy of what this relay knows of the shards it owns, in their order.
func (r *Relay) Status() []ShardStatus {
	r.mu.Lock()
	owned := make([]*ownership, 0, len(r.owned))
	for _, o := range r.owned {
		owned = append(owned, o)
	}
	r.mu.Unlock()
	status := make([]ShardStatus, len(owned))
	for i, o := range owned {
		status[i] = o.shard.Status()
	}
	slices.SortFunc(status, func(a, b ShardStatus) int { return cmp.Compare(a.Shard, b.Shard) })
	return status
}

// Ready is nil when this relay has joined and every shard it owns runs or is paused on purpose. A relay that
// owns no shard because there are more relays than shards is ready.
func (r *Relay) Ready() error {
	r.mu.Lock()
	problem, member := r.problem, r.member
	r.mu.Unlock()
	if problem != nil {
		return problem
	}
	if member == nil || !member() {
		return errors.New("not yet a member of the relay group " + outbox.RelayGroup(r.cfg.Outbox))
	}
	var errs []error
	for _, st := range r.Status() {
		if st.State != Running && st.State != Paused {
			errs = append(errs, fmt.Errorf("shard %d is %s: %s", st.Shard, st.State, st.Reason))
		}
	}
	return errors.Join(errs...)
}
