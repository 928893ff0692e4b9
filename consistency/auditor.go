package consistency

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/outbox"
)

// Auditor compares an outbox with its records. Its methods must not be called at the same time;
// several auditors of one outbox may run at once.
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

// Run audits once, which takes Config.Settle at least. What could not be compared, an unreachable
// server for instance, is in the report. An error means that there is no report: ctx ended, or the
// outbox has no layout that this package knows. A panic of the audit is an error too.
func (a *Auditor) Run(ctx context.Context) (*Report, error) {
	began := time.Now()
	report, err := a.guarded(ctx, began)
	if err != nil {
		var p *panicError
		if errors.As(err, &p) {
			a.cfg.Logger.Error("audit failed", "outbox", a.cfg.Outbox, "panic", p.value,
				"stack", string(p.stack))
		}
		return nil, err
	}
	a.cfg.Logger.Info("audited", "outbox", report.Outbox, "run", report.Run, "verdict", report.Verdict,
		"entries", report.Entries,
		"records", report.Records, "findings", len(report.Findings), "incomplete", len(
			report.Incomplete), "took", time.Since(began).Round(time.Millisecond))
	return report, nil
}

func (a *Auditor) guarded(ctx context.Context, began time.Time) (_ *Report, err error) {
	defer caught(&err)
	return a.run(ctx, began)
}

func (a *Auditor) run(ctx context.Context, began time.Time) (*Report, error) {
	c := &a.cfg
	limit := newThrottle(c.Rate, c.Effort)
	streams := &redisStreams{primary: c.Redis, replica: c.Replica, outbox: c.Outbox, throttle: limit}
	shards, err := a.shards(ctx, streams)
	var bad *outbox.LayoutError
	switch {
	case errors.Is(err, outbox.ErrNoLayout), errors.As(err, &bad), errors.Is(err, errNoStreams):
		return nil, err
	case err != nil:
		return a.failed(ctx, began, err)
	}
	s, err := a.open(limit)
	if err != nil {
		return a.failed(ctx, began, err)
	}
	defer s.close()
	before, err := a.load(ctx, s)
	if err != nil {
		return a.failed(ctx, began, err)
	}
	if before, err = before.forRun(c.Outbox, shards, c.Full || c.Outside != nil); err != nil {
		return nil, err
	}
	report := newReport(c.Outbox, before.Run)
	report.Started, report.Full, report.DuplicatesAllowed = began, c.Full || c.Outside != nil,
		c.AllowDuplicates
	if c.Outside != nil {
		report.Run, report.Outside = 0, true
	}
	reader := &collector{
		settings: a.settings(), streams: streams, logs: s.logs, wait: sleep,
		now: time.Now, onPhase: c.OnPhase,
	}
	if _, err := rand.Read(reader.key[:]); err != nil {
		return nil, err
	}
	a.outside = nil
	keep, err := reader.audit(ctx, before, c.Full, report, a.saveRound(s))
	if err != nil {
		return nil, err
	}
	report.Finished = time.Now()
	if c.Outside != nil {
		return report, nil
	}
	if err := s.save(ctx, keep, nil, report); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		report.incomplete("%v", err)
		report.conclude()
	}
	return report, nil
}

// failed is the report of a run that could not begin.
func (a *Auditor) failed(ctx context.Context, began time.Time, err error) (*Report, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	r := newReport(a.cfg.Outbox, 0)
	r.Started, r.Finished = began, time.Now()
	r.incomplete("%v", err)
	r.conclude()
	return r, nil
}

// load reads what earlier runs remember. A run from outside wants none of it, and a full one only
// the number of the last run, if it can be read.
func (a *Auditor) load(ctx context.Context, s *store) (state, error) {
	if a.cfg.Outside != nil {
		return state{}, nil
	}
	before, _, err := s.load(ctx)
	if err != nil && a.cfg.Full {
		return state{}, nil
	}
	return before, err
}

// saveRound keeps what a round has compared; a run from outside keeps the tiles alone, in memory.
func (a *Auditor) saveRound(s *store) saveFunc {
	if a.cfg.Outside != nil {
		return func(_ context.Context, _ state, tiles []Tile) error {
			a.outside = MergeTiles(append(a.outside, tiles...), mostInMemory)
			return nil
		}
	}
	return func(ctx context.Context, now state, tiles []Tile) error {
		return s.save(ctx, &now, tiles, nil)
	}
}

// settings are what the comparison depends on.
func (a *Auditor) settings() settings {
	c := &a.cfg
	s := settings{
		outbox: c.Outbox, route: c.Route, format: c.Format, source: c.Source, tombstones: c.Tombstones,
		deadLetter: c.DeadLetterTopic, watch: c.Watch,
		settle:      max(0, c.Settle),
		tileEntries: a.tile, roundEntries: a.round, workers: auditWorkers, mostSuspects: mostSuspects,
	}
	if o := c.Outside; o != nil {
		s.outside, s.from, s.to = true, o.From, o.To
	}
	return s
}

var errNoStreams = errors.New("there is no stream of the outbox")

func (a *Auditor) shards(ctx context.Context, streams *redisStreams) (int, error) {
	if a.cfg.Outside == nil {
		l, err := outbox.ReadLayout(ctx, a.cfg.Redis, a.cfg.Outbox)
		if err == nil && l.Format != 1 {
			return 0, &outbox.LayoutError{
				Outbox: a.cfg.Outbox,
				Reason: fmt.Sprintf("entry format %d, this program reads format 1", l.Format),
			}
		}
		return l.Shards, err
	}
	if a.cfg.Outside.Shards > 0 {
		return a.cfg.Outside.Shards, nil
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

func (a *Auditor) open(limit *throttle) (*store, error) {
	reader, err := newReader(a.cfg.Kafka)
	if err != nil {
		return nil, err
	}
	producer, err := kgo.NewClient(
		append(append([]kgo.Opt(nil), a.cfg.Kafka...), kgo.ProducerBatchMaxBytes(storeBytes),
			kgo.RequiredAcks(kgo.AllISRAcks()),
			kgo.RecordDeliveryTimeout(10*time.Second), kgo.UnknownTopicRetries(1))...)
	if err != nil {
		reader.Close()
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return &store{
		logs: newKafkaLogs(reader, a.cfg.Outbox, limit), producer: producer,
		outbox: a.cfg.Outbox,
	}, nil
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
