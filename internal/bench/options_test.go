package bench

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func options(t *testing.T, o Options) Options {
	t.Helper()
	o.Drive = []string{"x"}
	o, err := o.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func driverNames(drivers []Driver) string {
	var all []string
	for _, c := range drivers {
		all = append(all, c.String())
	}
	return strings.Join(all, " ")
}

func TestWhatRuns(t *testing.T) {
	const everything = "loop/1 exactly-once/1 at-least-once/1 loop/4 exactly-once/4 " +
		"at-least-once/4 redis/1 kafka/1"
	const withLatency = "loop/1 exactly-once/1 at-least-once/1 kafka/1 kafka-transaction/1"
	for _, c := range []struct {
		only       []string
		sections   []Section
		throughput string
		latency    string
	}{
		{nil, Sections(), everything, withLatency},
		{[]string{"writer"}, []Section{Writer}, everything, withLatency},
		{
			[]string{"throughput", "loop", "exactly-once/4"},
			[]Section{Throughput},
			"loop/1 loop/4 exactly-once/4", "loop/1",
		},
		{
			[]string{"exactly-once"},
			[]Section{Throughput, Latency},
			"exactly-once/1 exactly-once/4",
			"exactly-once/1",
		},
		{[]string{"kafka"}, []Section{Throughput, Latency}, "kafka/1", "kafka/1"},
	} {
		o := options(t, Options{Only: c.only})
		var sections []Section
		for _, s := range Sections() {
			if o.section(s) {
				sections = append(sections, s)
			}
		}
		if !slices.Equal(sections, c.sections) {
			t.Errorf("%v: sections %v, want %v", c.only, sections, c.sections)
		}
		if got := driverNames(o.throughputDrivers()); got != c.throughput {
			t.Errorf("%v: throughput of %s, want %s", c.only, got, c.throughput)
		}
		if got := driverNames(o.latencyDrivers(1, 20)); got != c.latency {
			t.Errorf("%v: latency of %s, want %s", c.only, got, c.latency)
		}
	}
}

// Latency is measured over the shards that were asked for. Nobody asked for four of them to be
// measured by default.
func TestLatencyShards(t *testing.T) {
	for _, c := range []struct {
		shards, want []int
	}{{nil, []int{1}}, {[]int{4}, []int{4}}, {[]int{1, 64}, []int{1, 64}}} {
		if got := options(t, Options{Shards: c.shards}).latencyShards; !slices.Equal(got, c.want) {
			t.Errorf("--shards %v: latency over %v, want %v", c.shards, got, c.want)
		}
	}
	o := options(t, Options{Shards: []int{1, 64}})
	if got, want := driverNames(o.latencyDrivers(64, 20)),
		"loop/64 exactly-once/64 at-least-once/64"; got != want {
		t.Errorf("latency of %s, want %s", got, want)
	}
	if got, want := driverNames(o.latencyDrivers(1, 200)),
		"loop/1 exactly-once/1 at-least-once/1"; got != want {
		t.Errorf("latency of %s, want %s", got, want)
	}
}

func TestEveryMistakeIsNamed(t *testing.T) {
	err := Options{
		Entries: 1, Payload: 5, Rounds: -1, Shards: []int{1, 100}, Rates: []int{0},
		Only: []string{"exactly-onec"}, Lanes: 65, Linger: 2 * time.Second,
	}.Check()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"entries: 1,", "payload: 5 bytes", "rounds", "shards: 100",
		"rates: 0 a second", "lanes: 65", "linger: 2s", `unknown "exactly-onec"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %q:\n%v", want, err)
		}
	}
}

func TestQuickKeepsWhatWasChosen(t *testing.T) {
	o := Options{Entries: 7_000, LatencyFor: time.Minute}.Quick(func(flag string) bool {
		return flag == "entries" || flag == "latency-for"
	})
	if o.Entries != 7_000 || o.LatencyFor != time.Minute {
		t.Errorf("changed what was chosen: %+v", o)
	}
	if o.Rounds != 1 || o.Writes != 1_000 {
		t.Errorf("not quick: %+v", o)
	}
}

func TestFullKeepsWhatWasChosen(t *testing.T) {
	o := Options{Rates: []int{7}}.Full(func(flag string) bool { return flag == "rates" })
	if len(o.Rates) != 1 || o.Rates[0] != 7 {
		t.Errorf("changed what was chosen: %+v", o)
	}
	short := options(t, Options{})
	if o.Entries <= short.Entries || o.Rounds <= short.Rounds || o.LatencyFor <= short.LatencyFor {
		t.Errorf("no longer than %+v: %+v", short, o)
	}
}
