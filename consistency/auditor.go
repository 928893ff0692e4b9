package consistency

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// Config of an Auditor. Zero values mean what their field says.
type Config struct {
	// Outbox is the name of the outbox. Required.
	Outbox string
	// Redis is the deployment of the outbox; watermarks are taken from its primary. Required. The caller closes it.
	Redis redis.UniversalClient
	// Replica, if not nil, is where entries are read instead. A replica that lags behind the watermark makes the audit incomplete.
	Replica redis.UniversalClient
	// Kafka has the options of the clients that the auditor opens: seed brokers, TLS, SASL. Required.
	Kafka []kgo.Opt

	// Route, Format, Source, Tombstones and DeadLetterTopic say what the relay of the outbox is told to do. Empty: DefaultRoute, Raw,
	// "sluice/<outbox>", false, "sluice.<outbox>.dlq".
	Route           string
	Format          Format
	Source          string
	Tombstones      bool
	DeadLetterTopic string
	// Watch are patterns (as of path.Match) of topics in which records of the outbox are looked for, beside those to which entries
	// belong. Empty: every topic whose name begins as the route does, up to its first field.
	Watch []string

	// Settle is how long an entry may take to Kafka, and how long after the first look the second one comes. 0: 30 s; negative: no time.
	Settle time.Duration
	// Full starts over from what both sides still hold, and forgets what earlier audits found.
	Full bool
	// AllowDuplicates reports duplicates without calling them drift, for at-least-once delivery.
	AllowDuplicates bool
	// Rate bounds entries and records read a second; 0: no bound.
	Rate int
	// Effort is the share of the time in which the audit reads and compares, one piece at a time, above 0 and up to 1. In the rest it
	// waits, so that others have the servers for themselves; the busier these are, the slower it becomes. 0: 1, as fast as it can.
	// GentleEffort is for audits that run all the time.
	Effort float64

	// Outside compares what is in the two systems without layout, positions and earlier audits, and remembers nothing. Every entry counts
	// as one that should be there.
	Outside bool
	// Shards of the outbox, for Outside; 0: as many as there are streams.
	Shards int
	// From and To bound the entries compared, both inclusive, for Outside. Zero: from the first, up to the watermark.
	From, To EntryID

	// OnPhase is told when a phase of a run begins; nil: nobody is. The run waits for it.
	OnPhase func(Phase)
	// Logger takes a line about each run; nil: slog.Default().
	Logger *slog.Logger
}

// Sizes of tiles and rounds. A round is what is compared between two savings of the state; its tiles and their partitions' counts are what an
// audit holds in memory.
const (
	tileEntries   = 8192
	roundEntries  = 32 * tileEntries // by shard
	auditWorkers  = 4
	mostSuspects  = 100_000
	defaultSettle = 30 * time.Second
)

func (c Config) withDefaults() Config {
	if c.Route == "" {
		c.Route = DefaultRoute
	}
	if c.Format == "" {
		c.Format = Raw
	}
	if c.Source == "" {
		c.Source = "sluice/" + c.Outbox
	}
	if c.DeadLetterTopic == "" {
		c.DeadLetterTopic = names.DeadLetterTopic(c.Outbox)
	}
	if c.Settle == 0 {
		c.Settle = defaultSettle
	}
	if len(c.Watch) == 0 {
		if prefix, whole := literalPrefix(c.Route); whole {
			c.Watch = []string{prefix}
		} else if prefix != "" {
			c.Watch = []string{prefix + "*"}
		}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

func (c *Config) validate() error {
	if err := outbox.ValidateName(c.Outbox); err != nil {
		return err
	}
	if c.Redis == nil || len(c.Kafka) == 0 {
		return errors.New("consistency: Redis and Kafka are required")
	}
	if _, err := newRoute(c.Route); err != nil {
		return err
	}
	if c.Format != Raw && c.Format != CloudEventsBinary && c.Format != CloudEventsStructured {
		return fmt.Errorf("consistency: format %q, want %s, %s or %s", c.Format, Raw, CloudEventsBinary, CloudEventsStructured)
	}
	for _, p := range c.Watch {
		if _, err := path.Match(p, ""); err != nil {
			return fmt.Errorf("consistency: watched topic %q: %w", p, err)
		}
	}
	if !c.Outside && (c.Shards != 0 || !c.From.IsZero() || !c.To.IsZero()) {
		return errors.New("consistency: Shards, From and To are for audits from outside")
	}
	if c.Effort < 0 || c.Effort > 1 {
		return fmt.Errorf("consistency: Effort is %g, want 0 to 1", c.Effort)
	}
	if c.Rate < 0 || c.Shards < 0 {
		return errors.New("consistency: Rate and Shards cannot be negative")
	}
	return nil
}

// Auditor compares an outbox with its records. Its methods must not be called at the same time; several auditors of one outbox may
// run at once.
type Auditor struct {
	cfg   Config
	tile  int64 // entries; smaller in tests
	round int64

	outside []Tile // of the last run from outside, which keeps nothing elsewhere
}

// New checks the configuration. It connects to nothing.
func New(cfg Config) (*Auditor, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Auditor{cfg: cfg, tile: tileEntries, round: roundEntries}, nil
}

// Run audits once, which takes Config.Settle at least. What could not be compared, an unreachable server for instance, is in the
// report. An error means that there is no report: ctx ended, or the outbox has no layout that this package knows.
// A panic of the audit is an error too.
func (a *Auditor) Run(ctx context.Context) (*Report, error) {
	began := time.Now()
	report, err := a.guarded(ctx, began)
	if err != nil {
		var p *panicError
		if errors.As(err, &p) {
			a.cfg.Logger.Error("audit failed", "outbox", a.cfg.Outbox, "panic", p.value, "stack", string(p.stack))
		}
		return nil, err
	}
	a.cfg.Logger.Info("audited", "outbox", report.Outbox, "run", report.Run, "verdict", report.Verdict, "entries", report.Entries,
		"records", report.Records, "findings", len(report.Findings), "incomplete", len(report.Incomplete), "took", time.Since(began).Round(time.Millisecond))
	return report, nil
}

func (a *Auditor) guarded(ctx context.Context, began time.Time) (_ *Report, err error) {
	defer caught(&err)
	return a.run(ctx, began)
}

func (a *Auditor) run(ctx context.Context, began time.Time) (*Report, error) {
	c := &a.cfg
	fail := func(err error) (*Report, error) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r := newReport(c.Outbox, 0)
		r.Started, r.Finished = began, time.Now()
		r.incomplete("%v", err)
		r.conclude()
		return r, nil
	}
	p := newPace(c.Rate, c.Effort)
	streams := &redisStreams{primary: c.Redis, replica: c.Replica, outbox: c.Outbox, pace: p}
	shards, err := a.shards(ctx, streams)
	var bad *outbox.LayoutError
	switch {
	case errors.Is(err, outbox.ErrNoLayout), errors.As(err, &bad), errors.Is(err, errNoStreams):
		return nil, err
	case err != nil:
		return fail(err)
	}
	s, err := a.open(p)
	if err != nil {
		return fail(err)
	}
	defer s.close()

	state := &State{}
	if !c.Outside {
		if state, _, err = s.load(ctx); err != nil && !c.Full {
			return fail(err)
		}
		if state == nil {
			state = &State{}
		}
	}
	if err := state.forRun(c.Outbox, shards, c.Full || c.Outside); err != nil {
		return nil, err
	}
	report := newReport(c.Outbox, state.Run)
	report.Started, report.Full, report.DuplicatesAllowed = began, c.Full || c.Outside, c.AllowDuplicates
	if c.Outside {
		report.Run, report.Outside = 0, true
	}
	a.outside = nil
	e := &engine{
		settings: a.settings(),
		streams:  streams, logs: s.logs, wait: sleep, now: time.Now, state: state, report: report, onPhase: c.OnPhase,
	}
	var kept *State // as it was saved last, if what it carries is in this report
	if !c.Full {
		kept = state.clone()
	}
	e.save = func(ctx context.Context, tiles []Tile) error {
		if c.Outside {
			a.outside = mosaic(append(a.outside, tiles...), mostInMemory)
			return nil
		}
		if err := s.save(ctx, state, tiles, nil); err != nil {
			return err
		}
		kept = state.clone()
		return nil
	}
	if err := e.run(ctx, shards); err != nil {
		return nil, err
	}
	report.Finished = time.Now()
	if !c.Outside {
		if e.gaveUp {
			// That of the last finished round stands, but for what this report has told.
			if kept != nil {
				kept.told()
			}
		} else {
			kept = state
		}
		if err := s.save(ctx, kept, nil, report); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			report.incomplete("%v", err)
			report.conclude()
		}
	}
	return report, nil
}

// settings are what the comparison depends on.
func (a *Auditor) settings() settings {
	c := &a.cfg
	return settings{
		outbox: c.Outbox, route: c.Route, format: c.Format, source: c.Source, tombstones: c.Tombstones, deadLetter: c.DeadLetterTopic, watch: c.Watch,
		settle: max(0, c.Settle), outside: c.Outside, from: c.From, to: c.To,
		tileEntries: a.tile, roundEntries: a.round, workers: auditWorkers, mostSuspects: mostSuspects,
	}
}

var errNoStreams = errors.New("there is no stream of the outbox")

func (a *Auditor) shards(ctx context.Context, streams *redisStreams) (int, error) {
	if !a.cfg.Outside {
		l, err := outbox.ReadLayout(ctx, a.cfg.Redis, a.cfg.Outbox)
		if err == nil && l.Format != 1 {
			return 0, &outbox.LayoutError{Outbox: a.cfg.Outbox, Reason: fmt.Sprintf("entry format %d, this program reads format 1", l.Format)}
		}
		return l.Shards, err
	}
	if a.cfg.Shards > 0 {
		return a.cfg.Shards, nil
	}
	for n := 0; ; n++ {
		st, err := streams.state(ctx, n)
		if err != nil {
			return 0, err
		}
		if !st.exists && n == 0 {
			return 0, fmt.Errorf("%w %q: %s", errNoStreams, a.cfg.Outbox, outbox.StreamKey(a.cfg.Outbox, 0))
		}
		if !st.exists {
			return n, nil
		}
	}
}

func (a *Auditor) open(p *pace) (*store, error) {
	reader, err := newReader(a.cfg.Kafka)
	if err != nil {
		return nil, err
	}
	producer, err := kgo.NewClient(append(append([]kgo.Opt(nil), a.cfg.Kafka...), kgo.ProducerBatchMaxBytes(storeBytes), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordDeliveryTimeout(10*time.Second), kgo.UnknownTopicRetries(1))...)
	if err != nil {
		reader.Close()
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return &store{logs: newKafkaLogs(reader, a.cfg.Outbox, p), producer: producer, outbox: a.cfg.Outbox}, nil
}

func (s *store) close() {
	s.producer.Close()
	s.logs.client.Close()
}

// History returns the reports that are kept, the oldest first.
func (a *Auditor) History(ctx context.Context) ([]*Report, error) {
	s, err := a.open(nil)
	if err != nil {
		return nil, err
	}
	defer s.close()
	_, reports, err := s.load(ctx)
	return reports, err
}
