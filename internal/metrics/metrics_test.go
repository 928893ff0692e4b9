package metrics

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

type fakeRelay struct {
	status []relay.ShardStatus
	ready  error
}

func (f *fakeRelay) Status() []relay.ShardStatus { return f.status }
func (f *fakeRelay) Ready() error                { return f.ready }

// Every func of the Observer is set: what the relay tells is not lost.
func TestObserverIsComplete(t *testing.T) {
	v := reflect.ValueOf(NewRelay("orders", Build{}).Observer()).Elem()
	for i := range v.NumField() {
		if v.Field(i).IsNil() {
			t.Errorf("Observer.%s is not set", v.Type().Field(i).Name)
		}
	}
}

func TestCounters(t *testing.T) {
	m := NewRelay("orders", Build{Version: "v1", Go: "go1"})
	o := m.Observer()
	o.Committed(relay.Commit{
		Entries: 3, Bytes: 300, Topics: map[string]int{"a": 2, "b": 1},
		Ages: []time.Duration{time.Millisecond, -time.Hour}, Took: time.Millisecond,
	})
	o.Transaction(relay.Transaction{
		Lane: "a", Shards: 3, Entries: 3, Bytes: 300,
		Took: time.Millisecond,
	})
	o.DeadLettered(1, outbox.EntryID{}, relay.ReasonTooLarge)
	o.Trimmed(1, 7)
	err := testutil.GatherAndCompare(m.Gatherer(), strings.NewReader(`
# HELP sluice_build_info 1, labelled with what this binary was made from.
# TYPE sluice_build_info gauge
sluice_build_info{goversion="go1",revision="",version="v1"} 1
# HELP sluice_dead_letters_total Entries that went to the dead-letter topic.
# TYPE sluice_dead_letters_total counter
sluice_dead_letters_total{outbox="orders",reason="no_route"} 0
sluice_dead_letters_total{outbox="orders",reason="rejected"} 0
sluice_dead_letters_total{outbox="orders",reason="too_large"} 1
sluice_dead_letters_total{outbox="orders",reason="undecodable"} 0
sluice_dead_letters_total{outbox="orders",reason="unknown_topic"} 0
# HELP sluice_relay_published_total Records visible to read_committed consumers, dead letters among them.
# TYPE sluice_relay_published_total counter
sluice_relay_published_total{outbox="orders",topic="a"} 2
sluice_relay_published_total{outbox="orders",topic="b"} 1
# HELP sluice_relay_transaction_shards Shards that had entries in a transaction.
# TYPE sluice_relay_transaction_shards histogram
sluice_relay_transaction_shards_bucket{outbox="orders",le="1"} 0
sluice_relay_transaction_shards_bucket{outbox="orders",le="2"} 0
sluice_relay_transaction_shards_bucket{outbox="orders",le="4"} 1
sluice_relay_transaction_shards_bucket{outbox="orders",le="8"} 1
sluice_relay_transaction_shards_bucket{outbox="orders",le="16"} 1
sluice_relay_transaction_shards_bucket{outbox="orders",le="32"} 1
sluice_relay_transaction_shards_bucket{outbox="orders",le="64"} 1
sluice_relay_transaction_shards_bucket{outbox="orders",le="+Inf"} 1
sluice_relay_transaction_shards_sum{outbox="orders"} 3
sluice_relay_transaction_shards_count{outbox="orders"} 1
# HELP sluice_relay_transactions_total Committed Kafka transactions with entries, each of one or several shards.
# TYPE sluice_relay_transactions_total counter
sluice_relay_transactions_total{outbox="orders"} 1
# HELP sluice_relay_trimmed_total Delivered entries that were removed from Redis.
# TYPE sluice_relay_trimmed_total counter
sluice_relay_trimmed_total{outbox="orders"} 7
`), "sluice_build_info", "sluice_dead_letters_total", "sluice_relay_published_total",
		"sluice_relay_transaction_shards", "sluice_relay_transactions_total",
		"sluice_relay_trimmed_total")
	if err != nil {
		t.Error(err)
	}
}

// What is unknown is absent.
func TestShardGauges(t *testing.T) {
	m := NewRelay("orders", Build{})
	m.Watch(&fakeRelay{status: []relay.ShardStatus{
		{
			Shard: 0, State: relay.StateRunning, Lag: 5, OldestUndelivered: 1500 * time.Millisecond,
			TrimHeld: time.Minute,
		},
		{Shard: 1, State: relay.StateHalted, Lag: -1, OldestUndelivered: -1, TrimHeld: -1},
	}})
	err := testutil.GatherAndCompare(m.Gatherer(), strings.NewReader(`
# HELP sluice_relay_ready 1 if this relay is a member of its group and each of its shards runs or is paused on purpose.
# TYPE sluice_relay_ready gauge
sluice_relay_ready{outbox="orders"} 1
# HELP sluice_shard_lag_entries Entries in Redis after the position. Absent if unknown.
# TYPE sluice_shard_lag_entries gauge
sluice_shard_lag_entries{outbox="orders",shard="0"} 5
# HELP sluice_shard_oldest_undelivered_seconds Age of the first entry after the position, 0 if there is none. Absent if unknown.
# TYPE sluice_shard_oldest_undelivered_seconds gauge
sluice_shard_oldest_undelivered_seconds{outbox="orders",shard="0"} 1.5
# HELP sluice_shard_trim_held_seconds How long the first entry that waits for an audit could have been trimmed, 0 if none waits. Absent if unknown.
# TYPE sluice_shard_trim_held_seconds gauge
sluice_shard_trim_held_seconds{outbox="orders",shard="0"} 60
`), "sluice_relay_ready", "sluice_shard_lag_entries", "sluice_shard_oldest_undelivered_seconds",
		"sluice_shard_trim_held_seconds")
	if err != nil {
		t.Error(err)
	}
	if n := testutil.CollectAndCount(
		newShards("o", (&fakeRelay{status: []relay.ShardStatus{{}}}).Status, func() error {
			return nil
		}), "sluice_shard_state"); n != len(states) {
		t.Errorf("%d series of the state of one shard, want %d", n, len(states))
	}
}

// A route that makes topics from data does not make series without end.
func TestTopicsAreBounded(t *testing.T) {
	m := NewRelay("orders", Build{})
	o := m.Observer()
	for i := range 3 * maxTopics {
		o.Committed(relay.Commit{Topics: map[string]int{fmt.Sprintf("t%d", i): 1}})
	}
	if n := testutil.CollectAndCount(m.published); n != maxTopics+1 {
		t.Errorf("%d series, want %d", n, maxTopics+1)
	}
	if got := testutil.ToFloat64(m.published.WithLabelValues(otherTopics)); got != 2*maxTopics {
		t.Errorf("%s has %v, want %d", otherTopics, got, 2*maxTopics)
	}
}

// The names and units follow Prometheus' conventions.
func TestLint(t *testing.T) {
	m := NewRelay("orders", Build{})
	m.Watch(&fakeRelay{status: []relay.ShardStatus{{State: relay.StateRunning}}})
	m.Audits(func() bool { return true }).Audited(auditReport(1, consistency.Agree))
	problems, err := testutil.GatherAndLint(m.Gatherer())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "sluice_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}
