//go:build integration

package suites_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/relay"
)

// loweredLimit is how long what was written may take after the topic's limit was lowered.
const loweredLimit = time.Minute

// TestLoweredMessageLimit: under load the topic's max.message.bytes is lowered below some of the
// events. What was delivered before stays; of what comes after, each event that is too large
// becomes a dead letter, and every other one is delivered.
func TestLoweredMessageLimit(t *testing.T) {
	t.Parallel()
	for _, d := range []relay.Delivery{relay.DeliveryExactlyOnce, relay.DeliveryAtLeastOnce} {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			w := limitedTopic(t)
			cfg := w.Config()
			cfg.Delivery = d
			w.Run(cfg)
			w.WatchStillness(stillnessLimit)
			large := map[int]map[string]relay.Reason{}
			writeMixed(w, scaled(t, 40), large)
			lowerLimit(t, w, "2000")
			writeMixed(w, scaled(t, 40), large)
			verifyLowered(t, w, large, d)
		})
	}
}

// TestLoweredMessageLimitOnABacklog is the same for a relay that is still while a backlog grows
// and the limit is lowered. It goes on with what it knew of the topic, in the largest transactions.
func TestLoweredMessageLimitOnABacklog(t *testing.T) {
	t.Parallel()
	for _, d := range []relay.Delivery{relay.DeliveryExactlyOnce, relay.DeliveryAtLeastOnce} {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			w := limitedTopic(t)
			p := w.Spawn(testenv.Settings{
				"delivery": d.String(), "session_timeout": "30s",
				"transaction_timeout": "30s",
			})
			large := map[int]map[string]relay.Reason{}
			writeMixed(w, 1, large)
			w.AwaitPassed(time.Minute)
			if err := p.Stop(); err != nil {
				t.Fatal(err)
			}
			writeMixed(w, scaled(t, 100), large)
			lowerLimit(t, w, "2000")
			if err := p.Cont(); err != nil {
				t.Fatal(err)
			}
			w.WatchStillness(stillnessLimit)
			verifyLowered(t, w, large, d)
		})
	}
}

// limitedTopic is an environment with a topic of its own.
func limitedTopic(t *testing.T) *testenv.Env {
	t.Helper()
	w := shared(t, 4)
	if _, err := kadm.NewClient(w.Kafka).CreateTopic(deadline(t, time.Minute), int32(w.Shards), -1,
		nil, w.Topic()); err != nil {
		t.Fatal(err)
	}
	return w
}

// verifyLowered waits for all that was written, and wants each of the large entries delivered or
// dead-lettered: the moment of the change decides. What is added now is dead-lettered for sure.
func verifyLowered(t *testing.T, w *testenv.Env, large map[int]map[string]relay.Reason,
	d relay.Delivery,
) {
	t.Helper()
	want := map[int]map[string]relay.Reason{}
	writeMixed(w, 1, want)
	began := time.Now()
	w.AwaitPassed(loweredLimit)
	t.Logf("all was delivered or dead-lettered %s after it was written",
		time.Since(began).Round(100*time.Millisecond))
	dead := deadLettered(w)
	for shard, ids := range large {
		for id := range ids {
			if dead[shard][id] {
				want[shard][id] = relay.ReasonTooLarge
			}
		}
	}
	verifyAllBut(t, w, want, d)
	checkReasons(t, w, want)
}

// writeMixed adds rounds of 300 small entries and a large one to each shard, and notes the large
// ones.
func writeMixed(w *testenv.Env, rounds int, large map[int]map[string]relay.Reason) {
	for range rounds {
		for shard := range w.Shards {
			w.Add(shard, 300, "small")
			id := w.AddFields(shard, "*", w.Fields(strings.Repeat("large", 1000))...)
			if large[shard] == nil {
				large[shard] = map[string]relay.Reason{}
			}
			large[shard][id] = relay.ReasonTooLarge
		}
	}
}

func lowerLimit(t *testing.T, w *testenv.Env, bytes string) {
	t.Helper()
	altered, err := kadm.NewClient(w.Kafka).AlterTopicConfigs(deadline(t, time.Minute),
		[]kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &bytes}}, w.Topic())
	for _, a := range altered {
		err = errors.Join(err, a.Err)
	}
	if err != nil {
		t.Fatal(err)
	}
}
