package metrics

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// maxTopics bounds the values of the label topic.
const maxTopics = 200

// otherTopics is the name of every topic beyond maxTopics. No Kafka topic can have this name.
const otherTopics = "(other)"

// states are all values of the label state.
var states = []relay.State{
	relay.StateStarting, relay.StateRunning, relay.StateWaiting,
	relay.StatePaused, relay.StateHalted, relay.StateStopped,
}

// Build labels sluice_build_info.
type Build struct{ Version, Revision, Go string }

// Relay is the metrics of one relay. Make it before the relay, give Observer to the relay's Config,
// and call Watch with the relay.
type Relay struct {
	registry *prometheus.Registry
	outbox   string

	published    *prometheus.CounterVec
	bytes        prometheus.Counter
	endToEnd     prometheus.Histogram
	commit       prometheus.Histogram
	entries      prometheus.Histogram
	transactions prometheus.Counter
	shards       prometheus.Histogram
	dead         *prometheus.CounterVec
	trimmed      prometheus.Counter
	transition   *prometheus.CounterVec

	mu     sync.Mutex
	topics map[string]prometheus.Counter
}

// NewRelay makes the metrics of an outbox's relay on a registry of their own.
func NewRelay(outbox string, build Build) *Relay {
	label := prometheus.Labels{"outbox": outbox}
	m := &Relay{
		registry: newRegistry(build),
		outbox:   outbox,
		topics:   map[string]prometheus.Counter{},
		published: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name:        "sluice_relay_published_total",
			Help:        "Records visible to read_committed consumers, dead letters among them.",
			ConstLabels: label,
		}, []string{"topic"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sluice_relay_read_bytes_total",
			Help: "Bytes of the delivered entries as they stood in Redis.", ConstLabels: label,
		}),
		// From a millisecond, an idle relay on one machine, to hours of backlog.
		endToEnd: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sluice_relay_end_to_end_seconds",
			Help: "From the entry ID's time in Redis to the commit in Kafka, " +
				"one observation an entry.",
			ConstLabels: label,
			Buckets: []float64{
				.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 300, 1800,
				7200,
			},
		}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sluice_relay_commit_seconds",
			Help: "From the first record of a transaction to its acknowledged commit.", ConstLabels: label,
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10},
		}),
		entries: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sluice_relay_transaction_entries",
			Help: "Entries of one shard in a transaction (at-least-once: of a read).", ConstLabels: label,
			Buckets: []float64{1, 3, 10, 30, 100, 300, 1000, 3000, 10000},
		}),
		transactions: prometheus.NewCounter(prometheus.CounterOpts{
			Name:        "sluice_relay_transactions_total",
			Help:        "Committed Kafka transactions with entries, each of one or several shards.",
			ConstLabels: label,
		}),
		shards: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sluice_relay_transaction_shards", Help: "Shards that had entries in a transaction.",
			ConstLabels: label,
			Buckets:     []float64{1, 2, 4, 8, 16, 32, 64},
		}),
		dead: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_dead_letters_total", Help: "Entries that went to the dead-letter topic.",
			ConstLabels: label,
		}, []string{"reason"}),
		trimmed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sluice_relay_trimmed_total", Help: "Delivered entries that were removed from Redis.",
			ConstLabels: label,
		}),
		transition: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_shard_transitions_total", Help: "Changes of a shard's state, by the new state.",
			ConstLabels: label,
		}, []string{"state"}),
	}
	// A rate over a counter that appears with its first event misses that event: begin at 0 what can
	// be named.
	for _, r := range []relay.Reason{
		relay.ReasonUndecodable, relay.ReasonTooLarge,
		relay.ReasonNoRoute, relay.ReasonUnknownTopic, relay.ReasonRejected,
	} {
		m.dead.WithLabelValues(string(r))
	}
	for _, s := range states {
		m.transition.WithLabelValues(string(s))
	}
	m.registry.MustRegister(m.published, m.bytes, m.endToEnd, m.commit, m.entries, m.transactions,
		m.shards, m.dead, m.trimmed, m.transition)
	return m
}

// newRegistry makes a registry with what every process tells of itself.
func newRegistry(build Build) *prometheus.Registry {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sluice_build_info", Help: "1, labelled with what this binary was made from.",
		ConstLabels: prometheus.Labels{
			"version": build.Version, "revision": build.Revision,
			"goversion": build.Go,
		},
	})
	info.Set(1)
	r := prometheus.NewRegistry()
	r.MustRegister(info, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Gatherer is what /metrics serves.
func (m *Relay) Gatherer() prometheus.Gatherer { return m.registry }

// Observer counts what a relay does. Its functions do not block.
func (m *Relay) Observer() *relay.Observer {
	return &relay.Observer{
		Committed: func(c relay.Commit) {
			m.bytes.Add(float64(c.Bytes))
			m.commit.Observe(c.Took.Seconds())
			m.entries.Observe(float64(c.Entries))
			for topic, n := range c.Topics {
				m.topic(topic).Add(float64(n))
			}
			for _, age := range c.Ages {
				// Clocks of two machines: an entry can seem to come from the future.
				m.endToEnd.Observe(max(0, age).Seconds())
			}
		},
		Transaction: func(x relay.Transaction) {
			m.transactions.Inc()
			m.shards.Observe(float64(x.Shards))
		},
		DeadLettered: func(_ int, _ outbox.EntryID, reason relay.Reason) {
			m.dead.WithLabelValues(string(reason)).Inc()
		},
		StateChanged: func(s relay.ShardStatus) { m.transition.WithLabelValues(string(s.State)).Inc() },
		Trimmed:      func(_ int, entries int64) { m.trimmed.Add(float64(entries)) },
	}
}

func (m *Relay) topic(name string) prometheus.Counter {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.topics[name]
	if ok {
		return c
	}
	if len(m.topics) >= maxTopics {
		return m.published.WithLabelValues(otherTopics)
	}
	c = m.published.WithLabelValues(name)
	m.topics[name] = c
	return c
}

// Watch adds the gauges of r's shards, read when /metrics is.
func (m *Relay) Watch(r interface {
	Status() []relay.ShardStatus
	Ready() error
},
) {
	m.registry.MustRegister(newShards(m.outbox, r.Status, r.Ready))
}

// shards collects the gauges of the shards that the relay owns.
type shards struct {
	status func() []relay.ShardStatus
	ready  func() error

	isReady, lag, oldest, state, since, missing, delivered, held *prometheus.Desc
}

func newShards(outbox string, status func() []relay.ShardStatus, ready func() error) *shards {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, prometheus.Labels{"outbox": outbox})
	}
	return &shards{
		status: status, ready: ready,
		isReady: desc("sluice_relay_ready",
			"1 if this relay is a member of its group and each of its shards runs or is paused on purpose."),
		lag: desc("sluice_shard_lag_entries",
			"Entries in Redis after the position. Absent if unknown.", "shard"),
		oldest: desc("sluice_shard_oldest_undelivered_seconds",
			"Age of the first entry after the position, 0 if there is none. Absent if unknown.", "shard"),
		state: desc("sluice_shard_state", "1 for the state a shard is in, 0 for the others.", "shard",
			"state"),
		since: desc("sluice_shard_state_since_timestamp_seconds",
			"When the shard came into its state.", "shard"),
		missing: desc("sluice_shard_missing_entries",
			"Entries that Redis says were added and that were gone before they could be delivered.",
			"shard"),
		delivered: desc("sluice_shard_position_entries",
			"Entries delivered so far, as the position counts them.", "shard"),
		held: desc("sluice_shard_trim_held_seconds",
			"How long the first entry that waits for an audit could have been trimmed, 0 if none waits. "+
				"Absent if unknown.", "shard"),
	}
}

func (s *shards) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		s.isReady, s.lag, s.oldest, s.state, s.since, s.missing,
		s.delivered, s.held,
	} {
		ch <- d
	}
}

func (s *shards) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(s.isReady, truth(s.ready() == nil))
	for _, st := range s.status() {
		shard := strconv.Itoa(st.Shard)
		for _, state := range states {
			gauge(s.state, truth(st.State == state), shard, string(state))
		}
		gauge(s.since, float64(st.Since.UnixNano())/float64(time.Second), shard)
		gauge(s.missing, float64(st.Missing), shard)
		gauge(s.delivered, float64(st.Position.Count), shard)
		if st.Lag >= 0 {
			gauge(s.lag, float64(st.Lag), shard)
		}
		if st.OldestUndelivered >= 0 {
			gauge(s.oldest, st.OldestUndelivered.Seconds(), shard)
		}
		if st.TrimHeld >= 0 {
			gauge(s.held, st.TrimHeld.Seconds(), shard)
		}
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
