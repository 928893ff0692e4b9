package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// run is one measurement under way.
type run struct {
	Options
	backends *backends
	source   *events
	id       string
	names    int
}

// Run measures. It ends the servers that it started and removes what it wrote into given ones, also
// when it fails or ctx ends.
func Run(ctx context.Context, o Options) (_ *Report, err error) {
	o, err = o.withDefaults()
	if err != nil {
		return nil, err
	}
	b, err := o.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.backends.end()) }()
	report := &Report{
		Environment: b.backends.env, Entries: o.Entries, Payload: o.Payload, Rounds: o.Rounds,
		Batch:      o.Batch,
		Partitions: b.partitions(), Settings: o.settings(),
	}
	if o.section(Throughput) {
		if report.Throughput, err = b.throughput(ctx); err != nil {
			return nil, err
		}
	}
	if o.section(Latency) {
		if report.Latency, err = b.latency(ctx); err != nil {
			return nil, err
		}
	}
	if o.section(Writer) {
		if report.Writer, err = b.overhead(ctx); err != nil {
			return nil, err
		}
	}
	report.judge()
	return report, nil
}

// begin connects to the servers, or starts them. The caller ends them.
func (o Options) begin(ctx context.Context) (*run, error) {
	s, err := o.connect(ctx)
	if err != nil {
		return nil, err
	}
	return &run{
		Options: o, backends: s, source: newEvents(o.Payload),
		id: "bench-" + strconv.FormatInt(time.Now().UnixMilli(), 36) + "-" + strconv.Itoa(os.Getpid()),
	}, nil
}

// newName is a name that no other outbox has.
func (b *run) newName() string {
	b.names++
	return fmt.Sprintf("%s-%d", b.id, b.names)
}

func (b *run) job(c Driver, st *stage) job {
	j := job{
		Driver: c, Redis: b.backends.redisAddr, Kafka: b.backends.brokers, Outbox: st.name,
		Topic:   st.topic,
		Entries: b.Entries, Payload: b.Payload, Batch: b.Batch,
		Lanes: b.Lanes, Linger: b.Linger,
	}
	if b.Profile != "" {
		j.Profile = filepath.Join(b.Profile, fmt.Sprintf("%s-%d-%03d.pprof", c.Kind, c.Shards, b.names))
	}
	return j
}
