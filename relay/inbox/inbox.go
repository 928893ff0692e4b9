package inbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/retry"
	"github.com/sluice-outbox/sluice/internal/slot"
	"github.com/sluice-outbox/sluice/outbox"
)

// Inbox applies the partitions that it owns to Redis. Make it with New; Run it once.
type Inbox struct {
	cfg     Config
	control *control
	slots   *slots
	cluster *redis.ClusterClient // the Redis client, if it is one
	writer  *outbox.Writer       // nil: there is no outbox

	// Made by Run.
	client  *kgo.Client // asks, and produces dead letters
	fetcher *fetcher
	letters *letterbox

	mu      sync.Mutex
	known   *Layout
	parts   map[string]*partition // that this instance owns, by place
	member  func() bool           // whether the group has this instance; nil before it is asked to
	problem error                 // why this instance is not ready, beside its partitions
}

// New checks the configuration. It does not talk to any server.
func New(cfg Config) (*Inbox, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cluster, _ := cfg.Redis.(*redis.ClusterClient)
	in := &Inbox{
		cfg: cfg, control: newControl(&cfg),
		slots: &slots{
			table: slot.Table{Client: cfg.Redis}, required: cluster != nil || cfg.RequireSameSlot,
		},
		cluster: cluster, parts: map[string]*partition{}, problem: errors.New("not started"),
	}
	if cfg.Outbox != "" {
		var err error
		if in.writer, err = outbox.NewWriter(cfg.Redis, cfg.Writer); err != nil {
			return nil, fmt.Errorf("inbox: Config.Writer: %w", err)
		}
	}
	return in, nil
}

// Run applies until ctx ends; then it finishes the transactions that are under way, gives its
// partitions back and returns nil. It waits for servers that cannot be reached. It returns an error
// only for what waiting cannot mend: a configuration that does not fit what the inbox has begun
// with.
func (in *Inbox) Run(ctx context.Context) error {
	client, err := kgo.NewClient(askOpts(&in.cfg)...)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	defer client.Close()
	consumer, err := kgo.NewClient(fetchOpts(&in.cfg)...)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	defer consumer.Close()
	in.client = client
	in.fetcher = newFetcher(consumer, in.cfg.MaxInFlight)
	in.letters = &letterbox{client: client, inbox: in.cfg.Inbox, topic: in.cfg.DeadLetterTopic}
	if err := in.waitForServers(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	beside, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { in.control.run(beside, in.cfg.HousekeepingInterval, in.Status, in.wakeAll) })
	wg.Go(func() { in.fetcher.run(beside) })
	wg.Go(func() { in.measure(beside) })
	defer wg.Wait()
	defer stop()

	in.cfg.Logger.Info("inbox started", "inbox", in.cfg.Inbox, "instance", in.cfg.Instance)
	defer in.cfg.Logger.Info("inbox stopped", "inbox", in.cfg.Inbox, "instance", in.cfg.Instance)
	if in.cfg.Assign != nil {
		in.runAssigned(ctx)
		return nil
	}
	return in.runGroup(ctx)
}

// waitForServers tries until both servers answer and the layout is there.
func (in *Inbox) waitForServers(ctx context.Context) error {
	wait := newBackoff(200*time.Millisecond, 10*time.Second)
	var logged string
	var loggedAt time.Time
	for {
		layout, err := in.prepare(ctx, nil)
		if err == nil {
			err = in.letters.ensure(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		var fatal *layoutError
		if err == nil || errors.As(err, &fatal) {
			in.mu.Lock()
			in.known, in.problem = layout, err
			in.mu.Unlock()
			return err
		}
		in.mu.Lock()
		in.problem = err
		in.mu.Unlock()
		if text := err.Error(); text != logged && time.Since(loggedAt) > time.Second ||
			time.Since(loggedAt) > 30*time.Second {
			in.cfg.Logger.Warn("the inbox waits for its servers, trying again", "inbox", in.cfg.Inbox,
				"error", err)
			logged, loggedAt = text, time.Now()
		}
		_ = retry.Sleep(ctx, wait.NextBackOff())
	}
}

// runAssigned owns fixed partitions until ctx ends.
func (in *Inbox) runAssigned(ctx context.Context) {
	var work []*worker
	for topic, numbers := range in.cfg.Assign {
		for _, n := range numbers {
			work = append(work, in.startPartition(ctx, topic, n))
		}
	}
	in.setMember(func() bool { return true })
	<-ctx.Done()
	in.end(work)
}

// startPartition runs a partition until its worker is ended or ctx ends.
func (in *Inbox) startPartition(ctx context.Context, topic string, number int32) *worker {
	p := newPartition(in, topic, number)
	run, stop := context.WithCancel(ctx)
	w := &worker{p: p, stop: stop, done: make(chan struct{})}
	in.mu.Lock()
	in.parts[place(topic, number)] = p
	in.mu.Unlock()
	go func() {
		defer close(w.done)
		p.run(run)
	}()
	return w
}

// end stops workers, all at once, and waits for them.
func (in *Inbox) end(work []*worker) []*partition {
	parts := make([]*partition, 0, len(work))
	for _, w := range work {
		w.stop()
	}
	for _, w := range work {
		<-w.done
		parts = append(parts, w.p)
		in.mu.Lock()
		if at := place(w.p.topic, w.p.number); in.parts[at] == w.p {
			delete(in.parts, at)
		}
		in.mu.Unlock()
	}
	return parts
}

func (in *Inbox) setMember(member func() bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.member = member
}

func (in *Inbox) layout() *Layout {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.known
}

// partitions are those that this instance owns, in their order.
func (in *Inbox) partitions() []*partition {
	in.mu.Lock()
	defer in.mu.Unlock()
	parts := make([]*partition, 0, len(in.parts))
	for _, p := range in.parts {
		parts = append(parts, p)
	}
	slices.SortFunc(parts, func(a, b *partition) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.number, b.number))
	})
	return parts
}

// wakeAll has every partition look at the operators' wishes.
func (in *Inbox) wakeAll() {
	for _, p := range in.partitions() {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// measure asks for the ends of the topics, which the lags are measured by.
func (in *Inbox) measure(ctx context.Context) {
	admin := kadm.NewClient(in.client)
	tick := time.NewTicker(in.cfg.HousekeepingInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		ends, err := admin.ListCommittedOffsets(ctx, in.cfg.Topics...)
		for _, p := range in.partitions() {
			end, ok := ends.Lookup(p.topic, p.number)
			switch pos := p.tracker.position(); {
			case err != nil || !ok || end.Err != nil || pos == nil:
				p.tracker.unknown()
			default:
				p.tracker.measured(end.Offset - pos.Next)
			}
		}
	}
}

// Status is a copy of what this instance knows of the partitions it owns, in their order.
func (in *Inbox) Status() []PartitionStatus {
	parts := in.partitions()
	status := make([]PartitionStatus, len(parts))
	for i, p := range parts {
		status[i] = p.tracker.Status()
	}
	return status
}

// Ready is nil when this instance has joined and every partition it owns runs or is paused on
// purpose. An instance that owns none because there are more instances than partitions is ready.
func (in *Inbox) Ready() error {
	in.mu.Lock()
	problem, member := in.problem, in.member
	in.mu.Unlock()
	if problem != nil {
		return problem
	}
	if member == nil || !member() {
		return errors.New("not yet a member of the group " + Group(in.cfg.Inbox))
	}
	var errs []error
	for _, st := range in.Status() {
		if st.State != Running && st.State != Paused {
			errs = append(errs, fmt.Errorf("%s is %s: %s", place(st.Topic, st.Partition), st.State,
				st.Reason))
		}
	}
	return errors.Join(errs...)
}
