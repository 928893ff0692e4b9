package bench

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Section is a part of the measurement.
type Section string

// The sections, in the order in which they run.
const (
	Throughput Section = "throughput"
	Latency    Section = "latency"
	Writer     Section = "writer"
)

// Sections lists all of them.
func Sections() []Section { return []Section{Throughput, Latency, Writer} }

// Options say what to measure. Zero values mean what their field says.
type Options struct {
	// Redis is a host:port or a redis:// URL, Kafka a list of brokers; empty: a server is started for
	// the run and ended with it. A given server should have nothing else to do, and is filled with
	// entries under names of its own, which are removed at the end.
	Redis string
	Kafka []string

	Entries int   // of the backlog in one throughput run; 0: 200,000
	Payload int   // bytes of each payload; 0: 200, the least is 32
	Shards  []int // numbers of shards to measure; nil: 1 and 4, and latency over 1 only
	Rounds  int   // how often the drivers take turns; 0: 2

	// Only limits the run to these sections and drivers (exactly-once or exactly-once/4, for example);
	// nil: all.
	Only []string

	// Batch is how many entries the hand-written loop reads at once; 0: 1,000.
	Batch int
	// Rates are the events a second of the latency section, of all shards together; each is measured
	// over each number of shards. nil: 20 and 200.
	Rates []int
	// LatencyFor is how long each latency run takes; 0: 4 s.
	LatencyFor time.Duration
	// Writes is how many transactions of each kind a round of the writer section makes; 0: 5,000.
	Writes int

	// Lanes and Linger are settings of the relay; 0: its defaults.
	Lanes  int
	Linger time.Duration

	// Limit bounds one run of one driver; 0: 2 minutes.
	Limit time.Duration

	// Profile is a folder for a CPU profile of each run of a driver, readable with go tool pprof;
	// empty: none is taken. Profiling costs some of what is measured.
	Profile string

	// Drive is the command that runs Drive of this package in a process of its own: program and
	// arguments. Required.
	Drive []string
	// DriveEnv is added to the environment of that process.
	DriveEnv []string
	// Progress is told a line at each step; nil: nobody is.
	Progress func(format string, args ...any)

	latencyShards []int
	spare         bool // start a second broker, for backends.leaderless
}

// Quick makes the run small, except where the caller has chosen otherwise: enough to see that
// everything works, too little for figures to be compared. chosen is asked with the names of the
// command line's flags.
func (o Options) Quick(chosen func(flag string) bool) Options {
	return o.preset(chosen, Options{
		Entries: 50_000, Rounds: 1, Writes: 1_000,
		LatencyFor: 3 * time.Second,
	})
}

// Full makes the run long, except where the caller has chosen otherwise: for figures that are
// written down.
func (o Options) Full(chosen func(flag string) bool) Options {
	return o.preset(chosen, Options{
		Entries: 1_000_000, Rounds: 3, Writes: 5_000,
		LatencyFor: 10 * time.Second, Rates: []int{20, 200, 5_000},
	})
}

func (o Options) preset(chosen func(flag string) bool, p Options) Options {
	for name, set := range map[string]func(){
		"entries": func() {
			o.Entries = p.Entries
		}, "rounds": func() { o.Rounds = p.Rounds }, "writes": func() { o.Writes = p.Writes },
		"latency-for": func() { o.LatencyFor = p.LatencyFor }, "rates": func() { o.Rates = p.Rates },
	} {
		if !chosen(name) {
			set()
		}
	}
	return o
}

// Check reports every option that is out of range.
func (o Options) Check() error {
	_, err := o.withDefaults()
	return err
}

func (o Options) withDefaults() (Options, error) {
	for v, def := range map[*int]int{
		&o.Entries: 600_000, &o.Payload: 200, &o.Rounds: 2,
		&o.Batch: 1_000, &o.Writes: 5_000,
	} {
		if *v == 0 {
			*v = def
		}
	}
	for v, def := range map[*time.Duration]time.Duration{
		&o.LatencyFor: 4 * time.Second,
		&o.Limit:      2 * time.Minute,
	} {
		if *v == 0 {
			*v = def
		}
	}
	o.latencyShards = o.Shards
	if o.Shards == nil {
		o.Shards, o.latencyShards = []int{1, 4}, []int{1}
	}
	if o.Rates == nil {
		o.Rates = []int{20, 200}
	}
	if o.Progress == nil {
		o.Progress = func(string, ...any) {}
	}
	return o, o.validate()
}

// maxPayload leaves room for the rest of a record below Kafka's default max.message.bytes.
const maxPayload = 900 << 10

func (o Options) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.Entries < 100 || o.Entries > maxEntries {
		bad("entries: %d, want 100 to %d", o.Entries, maxEntries)
	}
	if o.Payload < minPayload || o.Payload > maxPayload {
		bad("payload: %d bytes, want %d to %d", o.Payload, minPayload, maxPayload)
	}
	if o.Rounds < 1 || o.Batch < 1 || o.Writes < 1 || o.LatencyFor <= 0 || o.Limit <= 0 {
		bad("rounds, batch, writes and times: want 1 or more")
	}
	for _, n := range o.Shards {
		if n < 1 || n > 64 {
			bad("shards: %d, want 1 to 64", n)
		}
	}
	for _, n := range o.Rates {
		if n < 1 || n > 100_000 {
			bad("rates: %d a second, want 1 to 100,000", n)
		}
	}
	if o.Lanes < 0 || o.Lanes > 64 {
		bad("lanes: %d, want 1 to 64", o.Lanes)
	}
	if o.Linger < 0 || o.Linger > time.Second {
		bad("linger: %s, want 0s to 1s", o.Linger)
	}
	if len(o.Drive) == 0 {
		bad("the command that drives is missing")
	}
	var known []string
	for _, s := range Sections() {
		known = append(known, string(s))
	}
	for _, k := range kinds() {
		known = append(known, string(k))
		for _, n := range o.Shards {
			known = append(known, Driver{k, n}.String())
		}
	}
	for _, name := range o.Only {
		if !slices.Contains(known, name) {
			bad("only: unknown %q, want some of %s", name, strings.Join(known, ", "))
		}
	}
	return errors.Join(errs...)
}

// section tells whether a section is wanted: it is named, or none is. The writer's knows no
// drivers, so naming only drivers leaves it out.
func (o Options) section(s Section) bool {
	named, drivers := false, false
	for _, name := range o.Only {
		if slices.Contains(Sections(), Section(name)) {
			named = true
		} else {
			drivers = true
		}
	}
	if named {
		return slices.Contains(o.Only, string(s))
	}
	return s != Writer || !drivers
}

// driver tells whether a driver is wanted: it or its kind is named, or no driver is.
func (o Options) driver(c Driver) bool {
	named := false
	for _, name := range o.Only {
		if !slices.Contains(Sections(), Section(name)) {
			named = true
			if name == string(c.Kind) || name == c.String() {
				return true
			}
		}
	}
	return !named
}
