package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-outbox/sluice/consistency"
)

// AuditOptions say what RunAudit measures. Zero values mean what their field says.
type AuditOptions struct {
	// Redis and Kafka are as in Options.
	Redis string
	Kafka []string

	Entries int   // audited; 0: 1,000,000
	Payload int   // bytes of each payload; 0: 200, the least is 32
	Shards  []int // numbers of shards to measure; nil: 1 and 4
	Rounds  int   // how often all that is measured takes turns; 0: 3

	// Backlog is how many entries the relay drains with and without an audit beside it; 0: 600,000;
	// negative: gentle audits and the cost of audits to the relay are not measured.
	Backlog int

	// Limit bounds one run; 0: 10 minutes.
	Limit time.Duration

	// Profile, Drive, DriveEnv and Progress are as in Options.
	Profile  string
	Drive    []string
	DriveEnv []string
	Progress func(format string, args ...any)
}

// Quick makes the run small, except where the caller has chosen otherwise.
func (o AuditOptions) Quick(chosen func(flag string) bool) AuditOptions {
	for name, v := range map[string]struct {
		of    *int
		quick int
	}{"entries": {&o.Entries, 50_000}, "rounds": {&o.Rounds, 1}, "backlog": {&o.Backlog, 50_000}} {
		if !chosen(name) {
			*v.of = v.quick
		}
	}
	return o
}

// Check reports every option that is out of range.
func (o AuditOptions) Check() error {
	_, err := o.options()
	return err
}

// options are those of a run in which audits take the place of drivers.
func (o AuditOptions) options() (Options, error) {
	if o.Entries == 0 {
		o.Entries = 1_000_000
	}
	if o.Limit == 0 {
		o.Limit = 10 * time.Minute
	}
	if o.Rounds == 0 {
		o.Rounds = 3
	}
	all := Options{
		Redis: o.Redis, Kafka: o.Kafka, Entries: o.Entries, Payload: o.Payload, Shards: o.Shards,
		Rounds: o.Rounds, Limit: o.Limit,
		Profile: o.Profile, Drive: o.Drive, DriveEnv: o.DriveEnv, Progress: o.Progress,
	}
	all, err := all.withDefaults()
	if o.Backlog > 0 && (o.Backlog < 100 || o.Backlog > maxEntries) {
		err = errors.Join(err, fmt.Errorf("backlog: %d, want 100 to %d, or -1 for none", o.Backlog,
			maxEntries))
	}
	return all, err
}

// RunAudit measures audits: their speed, CPU time and memory beside what each server alone can be
// read at, and what an audit that runs all the time costs the relay. It ends the servers that it
// started and removes what it wrote into given ones, also when it fails or ctx ends. An audit that
// does not agree is an error.
func RunAudit(ctx context.Context, o AuditOptions) (report *AuditReport, err error) {
	all, err := o.options()
	if err != nil {
		return nil, err
	}
	if o.Backlog == 0 {
		o.Backlog = 600_000
	}
	b, err := all.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.backends.end()) }()
	report = &AuditReport{
		Environment: b.backends.env, Entries: b.Entries, Payload: b.Payload,
		Rounds: b.Rounds, Backlog: max(0, o.Backlog), Effort: consistency.GentleEffort,
	}
	for i, shards := range b.Shards {
		backlog := o.Backlog
		if i > 0 {
			// once is enough: what it costs is work of the same servers, however many shards there are
			backlog = -1
		}
		if err := b.audits(ctx, report, shards, backlog); err != nil {
			return nil, err
		}
	}
	report.judge()
	return report, nil
}

// audits measures over one number of shards.
func (b *run) audits(ctx context.Context, report *AuditReport, shards, entries int) (err error) {
	st, delivered, err := b.delivered(ctx, shards)
	defer func() { err = errors.Join(err, st.remove(context.WithoutCancel(ctx))) }()
	if err != nil {
		return err
	}
	speed, err := b.auditSpeed(ctx, st, delivered, report.Backlog > 0)
	report.Speed = append(report.Speed, speed...)
	if err != nil || entries < 0 {
		return err
	}
	report.Cost, err = b.auditCost(ctx, st, entries)
	return err
}

// delivered is an outbox whose entries the relay has delivered.
func (b *run) delivered(ctx context.Context, shards int) (*stage, *backlog, error) {
	st, err := b.backends.stage(ctx, b.newName(), shards, b.partitions(), nil)
	if err != nil {
		return st, nil, err
	}
	b.Progress("filling %d shard(s) with %d entries", shards, b.Entries)
	l, err := b.backends.fill(ctx, st.name, shards, b.Entries, b.source, numbering{})
	if err != nil {
		return st, l, err
	}
	b.Progress("delivering them")
	ctx, cancel := context.WithTimeout(ctx, b.Limit)
	defer cancel()
	_, err = b.driveAll(ctx, b.job(Driver{ExactlyOnce, shards}, st))
	return st, l, err
}

// auditSpeed lets the audits and the readers of one side take turns.
func (b *run) auditSpeed(ctx context.Context, st *stage, l *backlog,
	gentle bool,
) ([]AuditResult, error) {
	kinds := []Kind{RedisBaseline, KafkaRead, Audit}
	if gentle {
		kinds = append(kinds, GentleAudit)
	}
	results := make([]AuditResult, len(kinds))
	for round := range b.Rounds + 1 {
		for i, k := range kinds {
			c := Driver{k, st.shards}
			results[i].Driver = c
			if round == 0 && k == GentleAudit {
				continue // is as warm as the audit
			}
			r, err := b.auditSpeedOf(ctx, c, st, l)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c, err)
			}
			if round == 0 {
				b.Progress("warming up      %s", c)
				continue
			}
			r.Round = round
			b.Progress("round %d of %d  %-16s %9.0f entries/s %s, at most %d MiB", round, b.Rounds, c,
				r.Rate, perEntry(r.CPU), r.Peak>>20)
			results[i].Runs = append(results[i].Runs, r)
		}
	}
	for i := range results {
		results[i].Median = medianAudit(results[i].Runs)
	}
	return results, nil
}

func (b *run) auditSpeedOf(ctx context.Context, c Driver, st *stage, l *backlog) (AuditRun, error) {
	ctx, cancel := context.WithTimeout(ctx, b.Limit)
	defer cancel()
	j := b.job(c, st)
	j.Marks = l.marks
	p, err := b.startProcess(ctx, j)
	if err != nil {
		return AuditRun{}, err
	}
	defer p.end()
	r, err := b.untilDone(ctx, p)
	if c.Kind == KafkaRead {
		r.RedisCPU = nil
	}
	return AuditRun{Rate: r.Rate, CPU: r.CPU, RedisCPU: r.RedisCPU, Peak: r.Peak}, err
}

// auditCost lets the relay drain copies of a backlog, alone and with one audit after the other of
// another outbox beside it, which takes more from it than audits of its own: these would sometimes
// have nothing to compare.
func (b *run) auditCost(ctx context.Context, audited *stage,
	entries int,
) (_ *AuditCost, err error) {
	b.Progress("filling %d shard(s) with %d entries", audited.shards, entries)
	l, err := b.backends.fill(ctx, b.newName(), audited.shards, entries, b.source, numbering{})
	defer func() { err = errors.Join(err, l.remove(context.WithoutCancel(ctx))) }()
	if err != nil {
		return nil, err
	}
	relay := *b // with a backlog of another size
	relay.Entries = entries
	relay.id += "-cost"
	c := Driver{ExactlyOnce, audited.shards}
	beside := map[Kind][]float64{}
	busy := map[Kind][]float64{}
	kinds := []Kind{"", GentleAudit, Audit}
	for round := range b.Rounds + 1 {
		for i := range kinds {
			k := kinds[(i+round)%len(kinds)]
			r, cpu, err := relay.besideAudit(ctx, c, l, audited, k, b.Entries)
			if err != nil {
				return nil, err
			}
			if round == 0 {
				continue // warming up
			}
			b.Progress("round %d of %d  %s with %-13s %9.0f entries/s", round, b.Rounds, c,
				cmp.Or(k, "nothing"), r.Rate)
			beside[k], busy[k] = append(beside[k], r.Rate), append(busy[k], cpu)
		}
	}
	cost := &AuditCost{Driver: c, Baseline: median(beside[""])}
	for _, k := range kinds[1:] {
		kept := make([]float64, b.Rounds)
		for i := range kept {
			// of one round, which the machine did at about the same speed
			kept[i] = beside[k][i] / beside[""][i]
		}
		cost.Beside = append(cost.Beside,
			AuditBeside{
				Kind: k, Rate: median(beside[k]), Kept: median(kept), Runs: kept,
				Cores: median(busy[k]),
			})
	}
	return cost, nil
}

// besideAudit is one run of the relay, with audits beside it unless kind is empty; cores is how
// many of the processor's the audits kept busy.
func (b *run) besideAudit(ctx context.Context, c Driver, l *backlog, audited *stage, kind Kind,
	auditedEntries int,
) (r ThroughputRun, cores float64, err error) {
	var p *process
	var began time.Time
	if kind != "" {
		j := b.job(Driver{kind, audited.shards}, audited)
		j.Entries, j.Again = auditedEntries, true
		if p, err = b.startProcess(ctx, j); err != nil {
			return r, 0, err
		}
		defer p.end()
		if err := p.say(wordStart); err != nil {
			return r, 0, err
		}
		began = time.Now()
	}
	if r, err = b.throughputOf(ctx, c, l); err != nil || p == nil {
		return r, 0, err
	}
	took := time.Since(began)
	spent, err := p.stop(ctx)
	return r, spent.CPU.Seconds() / took.Seconds(), err
}

func medianAudit(runs []AuditRun) AuditRun {
	m := AuditRun{
		Rate:     *medianOf(runs, func(r AuditRun) *float64 { return &r.Rate }),
		CPU:      medianOf(runs, func(r AuditRun) *float64 { return r.CPU }),
		RedisCPU: medianOf(runs, func(r AuditRun) *float64 { return r.RedisCPU }),
	}
	m.Peak = slices.MaxFunc(runs, func(x, y AuditRun) int { return int(x.Peak - y.Peak) }).Peak
	return m
}
