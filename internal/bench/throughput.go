package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// throughput lets the drivers take turns on copies of the same backlog.
func (b *run) throughput(ctx context.Context) (results []ThroughputResult, err error) {
	drivers := b.throughputDrivers()
	backlogs := map[int]*backlog{}
	defer func() {
		for _, l := range backlogs {
			err = errors.Join(err, l.remove(context.WithoutCancel(ctx)))
		}
	}()
	for _, c := range drivers {
		if c.Kind == KafkaBaseline || backlogs[c.Shards] != nil {
			continue
		}
		b.Progress("filling %d shard(s) with %d entries", c.Shards, b.Entries)
		l, err := b.backends.fill(ctx, b.newName(), c.Shards, b.Entries, b.source, numbering{})
		backlogs[c.Shards] = l
		if err != nil {
			return nil, err
		}
	}
	for _, c := range drivers {
		results = append(results, ThroughputResult{Driver: c})
	}
	if err := b.warmUp(ctx, drivers, backlogs); err != nil {
		return nil, err
	}
	for round := range b.Rounds {
		for i, c := range drivers {
			r, err := b.throughputOf(ctx, c, backlogs[c.Shards])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c, err)
			}
			r.Round = round + 1
			b.Progress("round %d of %d  %-16s %9.0f entries/s %s", round+1, b.Rounds, c, r.Rate,
				perEntry(r.CPU))
			results[i].Runs = append(results[i].Runs, r)
		}
	}
	for i := range results {
		results[i] = results[i].withMedian()
	}
	return results, nil
}

// warmUp runs each kind once without counting it: a broker that has just been started compiles what
// it meets first.
func (b *run) warmUp(ctx context.Context, drivers []Driver, backlogs map[int]*backlog) error {
	warm := map[Kind]bool{}
	for _, c := range drivers {
		if warm[c.Kind] {
			continue
		}
		warm[c.Kind] = true
		b.Progress("warming up      %s", c)
		if _, err := b.throughputOf(ctx, c, backlogs[c.Shards]); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
	}
	return nil
}

func perEntry(us *float64) string {
	if us == nil {
		return ""
	}
	return fmt.Sprintf("%6.2f µs own CPU an entry", *us)
}

// throughputOf is one run, on a copy of the backlog unless the driver is KafkaBaseline.
func (b *run) throughputOf(ctx context.Context, c Driver,
	from *backlog,
) (r ThroughputRun, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.Limit)
	defer cancel()
	if c.Kind == KafkaBaseline {
		from = nil
	}
	st, err := b.backends.stage(ctx, b.newName(), c.Shards, b.partitions(), from)
	defer func() { err = errors.Join(err, st.remove(context.WithoutCancel(ctx))) }()
	if err != nil {
		return r, err
	}
	j := b.job(c, st)
	if c.Kind == RedisBaseline {
		j.Marks = from.marks
	}
	if c.Kind == RedisBaseline {
		p, err := b.startProcess(ctx, j)
		if err != nil {
			return r, err
		}
		defer p.end()
		return b.untilDone(ctx, p)
	}
	return b.driveAll(ctx, j)
}

// driveAll is one run of a driver until everything has arrived.
func (b *run) driveAll(ctx context.Context, j job) (r ThroughputRun, err error) {
	p, err := b.startProcess(ctx, j)
	if err != nil {
		return r, err
	}
	defer p.end()
	w, err := b.backends.watch(j.Topic, b.partitions())
	if err != nil {
		return r, err
	}
	defer w.close()
	if err := w.warm(ctx, b.backends.kafka); err != nil {
		return r, err
	}
	before, err := b.backends.gauge(ctx)
	if err != nil {
		return r, err
	}
	t := newTally(b.Entries, time.Now())
	if err := p.say(wordStart); err != nil {
		return r, err
	}
	seen, stop := p.watched(ctx)
	defer stop()
	if err = w.until(seen, func(n int, now time.Time) bool {
		t.add(n, now)
		return t.arrived < b.Entries
	}); err != nil {
		if cause := context.Cause(seen); cause != nil {
			err = cause
		}
		return r, p.failed(fmt.Errorf("%d of %d entries arrived: %w", t.arrived, b.Entries, err))
	}
	stop()
	spent, err := p.stop(ctx)
	if err != nil {
		return r, err
	}
	after, err := b.backends.gauge(ctx)
	if err != nil {
		return r, err
	}
	r = ThroughputRun{
		Rate: t.rate(), Duplicates: t.duplicates + t.strangers, OutOfOrder: t.inversions,
		OrderKnown: true, EntriesSeen: t.arrived,
		FirstAfter: ms(t.first.Sub(t.began)), LastAfter: ms(t.last.Sub(t.began)), AtFirst: t.atFirst,
		Peak: spent.Peak,
	}
	r.spent(spent.CPU, before, after, b.Entries)
	if j.Driver.Kind == KafkaBaseline {
		r.RedisCPU, r.FileBytes = nil, nil
	}
	return r, nil
}

// untilDone lets a driver read that says itself when it has read everything.
func (b *run) untilDone(ctx context.Context, p *process) (r ThroughputRun, err error) {
	before, err := b.backends.gauge(ctx)
	if err != nil {
		return r, err
	}
	if err := p.say(wordStart); err != nil {
		return r, err
	}
	done, err := p.await(ctx, eventDone)
	if err != nil {
		return r, err
	}
	spent, err := p.stop(ctx)
	if err != nil {
		return r, err
	}
	after, err := b.backends.gauge(ctx)
	if err != nil {
		return r, err
	}
	r = ThroughputRun{
		Rate: float64(done.Entries) / done.Elapsed.Seconds(), EntriesSeen: done.Entries,
		LastAfter: ms(done.Elapsed), Peak: spent.Peak,
	}
	r.spent(spent.CPU, before, after, done.Entries)
	return r, nil
}

// partitions is the same for all: a multiple of every number of shards, so that shards write
// disjoint ones.
func (b *run) partitions() int { return max(4, slices.Max(b.Shards)) }
