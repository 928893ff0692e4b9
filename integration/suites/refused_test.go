//go:build integration

package suites_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// refusedLimit is how long a run of refused entries may take. It is many times what it should take.
const refusedLimit = time.Minute

// TestRefusedAmongHealthy: entries that only the broker can refuse, few and many, stand among
// healthy ones. All of them become dead letters and all others are delivered, within a bounded
// time, and the shards beside do not wait.
func TestRefusedAmongHealthy(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name string
		// In shard 0 every n-th entry is refused; 1: all are. The other shards are healthy.
		entries, every, beside int
		delivery               relay.Delivery
	}{
		{"every second of 6000", scaled(t, 6000), 2, scaled(t, 3000), relay.DeliveryExactlyOnce},
		{
			"every second of 6000, at least once", scaled(t, 6000), 2, scaled(t, 3000),
			relay.DeliveryAtLeastOnce,
		},
		{"40 at a fresh start", 40, 1, 0, relay.DeliveryExactlyOnce},
		{
			"one of 10000", scaled(t, 10_000), scaled(t, 10_000), scaled(t, 3000),
			relay.DeliveryExactlyOnce,
		},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			w := shared(t, 4)
			refusing(t, w)
			for shard := 1; shard < w.Shards; shard++ {
				w.Add(shard, x.beside, "healthy, beside the refused")
			}
			refused := map[int]map[string]relay.Reason{0: {}}
			for n := range x.entries {
				fields := w.Fields("payload")
				bad := n%x.every == x.every/2
				if bad {
					fields = append(fields, outbox.FieldTime, longAgo)
				}
				id := w.AddFields(0, "*", fields...)
				if bad {
					refused[0][id] = relay.ReasonRejected
				}
			}
			cfg := w.Config()
			cfg.Delivery = x.delivery
			began := time.Now()
			w.Run(cfg)
			w.WatchStillness(stillnessLimit)
			w.AwaitPassed(refusedLimit, 1, 2, 3)
			t.Logf("the shards beside were delivered after %s",
				time.Since(began).Round(100*time.Millisecond))
			w.AwaitPassed(refusedLimit - time.Since(began))
			t.Logf("all was delivered after %s", time.Since(began).Round(100*time.Millisecond))
			verifyAllBut(t, w, refused, x.delivery)
			checkReasons(t, w, refused)
		})
	}
}

// longAgo is the time of an event that the topic made by refusing does not take. Only the broker
// knows that.
const longAgo = "1000000000000"

// refusing makes the environment's topic, which refuses records that are older than an hour.
func refusing(t *testing.T, w *testenv.Env) {
	t.Helper()
	hour := "3600000"
	config := map[string]*string{"message.timestamp.before.max.ms": &hour}
	if _, err := kadm.NewClient(w.Kafka).CreateTopic(deadline(t, time.Minute), int32(w.Shards), -1,
		config, w.Topic()); err != nil {
		t.Fatal(err)
	}
}
