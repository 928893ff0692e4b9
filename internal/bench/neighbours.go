package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// NeighboursOptions say what RunNeighbours measures. Zero values mean what their field says.
type NeighboursOptions struct {
	// Redis and Kafka are as in Options. No partition of given brokers is robbed of its leader.
	Redis string
	Kafka []string

	// of the relay, the last three of which come into trouble; 0: 64, the least is 4
	Shards  int
	Rate    int           // events a second of all other shards together; 0: 600
	For     time.Duration // how long each of the two runs takes; 0: 15 s
	Backlog int           // entries of the shard that has to catch up; 0: 1,000,000
	Payload int           // bytes of each payload; 0: 200, the least is 32
	Rounds  int           // how often both runs are made; 0: 1

	// Lanes and Linger are as in Options.
	Lanes  int
	Linger time.Duration

	// Limit bounds a round, beyond its runs; 0: 5 minutes.
	Limit time.Duration

	// Profile, Drive, DriveEnv and Progress are as in Options.
	Profile  string
	Drive    []string
	DriveEnv []string
	Progress func(format string, args ...any)
}

// Check reports every option that is out of range.
func (o NeighboursOptions) Check() error {
	_, err := o.options()
	return err
}

// maxBacklog is as many entries of one shard as there are numbers for, see numbering.
const maxBacklog = 5_000_000

// options are those of a run with one driver at one rate.
func (o NeighboursOptions) options() (Options, error) {
	for v, def := range map[*int]int{
		&o.Shards: 64, &o.Rate: 600, &o.Rounds: 1,
		&o.Backlog: 1_000_000,
	} {
		if *v == 0 {
			*v = def
		}
	}
	for v, def := range map[*time.Duration]time.Duration{
		&o.For:   15 * time.Second,
		&o.Limit: 5 * time.Minute,
	} {
		if *v == 0 {
			*v = def
		}
	}
	all := Options{
		Redis: o.Redis, Kafka: o.Kafka, spare: len(o.Kafka) == 0,
		Entries: o.Backlog, Payload: o.Payload, Shards: []int{o.Shards}, Rounds: o.Rounds,
		Rates: []int{o.Rate}, LatencyFor: o.For,
		Lanes: o.Lanes, Linger: o.Linger, Limit: o.Limit,
		Profile: o.Profile, Drive: o.Drive, DriveEnv: o.DriveEnv, Progress: o.Progress,
	}
	all, err := all.withDefaults()
	if o.Shards > 0 && o.Shards < 4 {
		err = errors.Join(err, fmt.Errorf("shards: %d, want 4 to 64: three of them come into trouble",
			o.Shards))
	}
	if o.Backlog > maxBacklog {
		err = errors.Join(err, fmt.Errorf("backlog: %d, want 100 to %d", o.Backlog, maxBacklog))
	}
	return all, err
}

// RunNeighbours measures what shards in trouble do to the latency of the others that the same relay
// carries. All but three of its shards are written to at a steady rate, first while nothing else
// happens, then while the last three have records that the broker refuses, a partition without a
// leader, and a backlog. It ends the servers that it started and removes what it wrote into given
// ones, also when it fails or ctx ends.
func RunNeighbours(ctx context.Context, o NeighboursOptions) (report *NeighboursReport, err error) {
	all, err := o.options()
	if err != nil {
		return nil, err
	}
	b, err := all.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.backends.end()) }()
	report = &NeighboursReport{
		Environment: b.backends.env, Shards: b.Shards[0], Well: b.Shards[0] - troubles, Rate: b.Rates[0],
		Seconds: b.LatencyFor.Seconds(),
		Backlog: b.Entries, Payload: b.Payload, Settings: b.settings(),
	}
	leaderless := ""
	if b.spare {
		leaderless = b.id + ".leaderless"
		b.Progress("stopping the only broker that has %s", leaderless)
		if err := b.backends.leaderless(ctx, leaderless); err != nil {
			return nil, err
		}
	} else {
		report.LeftOut = "no shard writes to a partition without a leader: that takes brokers that " +
			"are started for the run"
	}
	for round := range b.Rounds {
		r, err := b.neighbours(ctx, leaderless)
		if err != nil {
			return nil, err
		}
		r.Round = round + 1
		b.Progress("round %d of %d  p99 %.2f ms, with trouble %.2f ms", r.Round, b.Rounds, r.Calm.P99,
			r.Troubled.P99)
		report.Runs = append(report.Runs, r)
	}
	report.judge()
	return report, nil
}

// warmNeighbours is how long events are written before they count. It is longer than settle: the
// first of the two runs must not pay for what both need.
const warmNeighbours = 10 * time.Second

// neighbours is both runs, one after the other with the same relay.
func (b *run) neighbours(ctx context.Context, leaderless string) (r NeighboursRun, err error) {
	shards := b.Shards[0]
	st, err := b.backends.stage(ctx, b.newName(), shards, b.partitions(), nil)
	defer func() { err = errors.Join(err, st.remove(context.WithoutCancel(ctx))) }()
	if err != nil {
		return r, err
	}
	t, err := b.prepareTrouble(ctx, st, leaderless)
	defer func() { err = errors.Join(err, t.remove(context.WithoutCancel(ctx))) }()
	if err != nil {
		return r, err
	}
	ctx, cancel := context.WithTimeout(ctx, b.Limit+warmNeighbours+2*b.LatencyFor)
	defer cancel()
	j := b.job(Driver{ExactlyOnce, shards}, st)
	j.Ask = t.shards()
	p, err := b.startProcess(ctx, j)
	if err != nil {
		return r, err
	}
	defer p.end()
	// A partition is a shard's here: that of the backlog is not read, and costs this process nothing.
	w, err := b.backends.watchPartitions(st.topic, t.well())
	if err != nil {
		return r, err
	}
	defer w.close()
	if err := w.warm(ctx, b.backends.kafka); err != nil {
		return r, err
	}
	if err := p.say(wordStart); err != nil {
		return r, err
	}
	seen, stop := p.watched(ctx)
	defer stop()

	numbers := b.source.numbersOf(shards, t.isWell).forWriters()
	s := newStream(b.Rates[0], warmNeighbours, 2*b.LatencyFor,
		b.source.untilAll(numbers, shards, t.isWell), numbers)
	var g errgroup.Group
	g.Go(func() error { return w.until(seen, s.see) })
	g.Go(func() (err error) {
		r, err = b.bothRuns(seen, st.name, s, t, p)
		return err
	})
	if err := g.Wait(); err != nil {
		if cause := context.Cause(seen); cause != nil {
			err = cause
		}
		return r, p.failed(fmt.Errorf("%d of %d events of shards without trouble arrived: %w",
			s.arrived(), s.total, err))
	}
	stop()
	if _, err := p.stop(ctx); err != nil {
		return r, err
	}
	r.measured(s, t)
	return r, nil
}

// bothRuns writes the events of the shards that are well. Trouble begins in the middle of those
// that count.
func (b *run) bothRuns(ctx context.Context, name string, s *stream, t *trouble,
	p *process,
) (r NeighboursRun, err error) {
	if err := s.begin(ctx, b, name); err != nil {
		return r, err
	}
	if err := t.notYet(ctx, p); err != nil {
		return r, err
	}
	middle := s.total - s.counted/2
	b.Progress("%s at %d/s", b.LatencyFor, s.rate)
	if r.Calm.Written, r.Calm.Usage, err = s.metered(ctx, b, name, p, s.total-s.counted,
		middle); err != nil {
		return r, err
	}
	b.Progress("%s at %d/s, with trouble", b.LatencyFor, s.rate)
	until, end := context.WithCancel(ctx)
	defer end()
	g, inner := errgroup.WithContext(ctx)
	g.Go(func() error { return t.make(inner, until) })
	g.Go(func() error { return t.follow(inner, until, p) })
	g.Go(func() (err error) {
		defer end()
		r.Troubled.Written, r.Troubled.Usage, err = s.metered(inner, b, name, p, middle, s.total)
		return err
	})
	if err := g.Wait(); err != nil {
		return r, err
	}
	r.Trouble, err = t.state(ctx, p)
	return r, err
}

// measured takes the latencies from the stream.
func (r *NeighboursRun) measured(s *stream, t *trouble) {
	from, middle := s.total-s.counted, s.total-s.counted/2
	r.Calm.of(s.latencies(from, middle, nil))
	r.Troubled.of(s.latencies(middle, s.total, nil))
	if during := t.backlogLasted(); during != nil {
		if h := s.latencies(middle, s.total, during); h.TotalCount() > 0 {
			r.CatchingUp = &NeighboursPart{}
			r.CatchingUp.of(h)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Duplicates, r.OutOfOrder = s.tally.duplicates+s.tally.strangers, s.tally.inversions
}
