//go:build integration

package suites_test

import (
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/relay"
)

// TestDeliveryChangesWhereTheOtherStopped: from exactly-once to at-least-once and back, twice, with
// a clean stop between and events that are added while nobody runs. Each delivery starts where the
// other one stopped: no duplicate, nothing lost.
func TestDeliveryChangesWhereTheOtherStopped(t *testing.T) {
	t.Parallel()
	w := shared(t, 2)
	for _, d := range []relay.Delivery{
		relay.DeliveryExactlyOnce, relay.DeliveryAtLeastOnce,
		relay.DeliveryExactlyOnce, relay.DeliveryAtLeastOnce, relay.DeliveryExactlyOnce,
	} {
		for shard := range w.Shards {
			w.Add(shard, 100, "added while nobody runs")
		}
		cfg := w.Config()
		cfg.Delivery = d
		r := w.Run(cfg)
		for shard := range w.Shards {
			w.Add(shard, 100, "added while a relay runs")
		}
		w.AwaitPassed(time.Minute)
		if d == relay.DeliveryExactlyOnce {
			w.AwaitCommitted(time.Minute)
		} else {
			w.AwaitAcknowledged(time.Minute)
		}
		if err := r.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	verify(t, w)
}

// TestDeliveryChangesUnderLoad: the process is replaced by one of the other delivery while events
// are written, as a rolling change of the configuration does. Nothing is lost, and nothing is out
// of order in what is delivered first.
func TestDeliveryChangesUnderLoad(t *testing.T) {
	t.Parallel()
	w := shared(t, 2)
	events := scaled(t, 20_000)
	shop := w.Open(deadline(t, 5*time.Minute),
		testenv.ShopOptions{Events: events, Seed: integration.Seed(t).Uint64(), Gated: true})
	p := w.Spawn(testenv.Settings{"delivery": "exactly-once"})
	deliveries := []string{"at-least-once", "exactly-once", "at-least-once", "exactly-once"}
	for n, next := range deliveries {
		shop.Allow(events * (n + 1) / (len(deliveries) + 1))
		shop.Await(time.Minute, events*n/(len(deliveries)+1)+100)
		if err := p.WaitFor(deadline(t, time.Minute), "shard running"); err != nil {
			t.Fatal(err)
		}
		if err := p.Terminate(deadline(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		p = w.Spawn(testenv.Settings{"delivery": next})
	}
	shop.Allow(events)
	shop.Close(time.Minute)
	w.AwaitCommitted(time.Minute)
	verify(t, w)
}
