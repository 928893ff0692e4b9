//go:build integration

package suites_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// laggingShards is how many relays, with one shard each, look for a new topic at a time.
const laggingShards = 10

// TestTopicThatOneBrokerHasNotHeardOf: topics are created while a broker is cut off, and relays
// that dead-letter entries for unknown topics ask that broker first. The topics exist, so their
// entries are delivered, when the broker is healed at the latest, and none is dead-lettered.
//
// Which broker a relay asks next is chance: each round has new topics and new relays.
func TestTopicThatOneBrokerHasNotHeardOf(t *testing.T) {
	t.Parallel()
	ctx := deadline(t, 15*time.Minute)
	d := newIsolable(ctx, t, laggingShards)
	random := integration.Seed(t)
	lagging := d.k.Brokers[random.IntN(len(d.k.Brokers))]
	rest := d.others(lagging)
	// All that a transaction needs is elsewhere, so that nothing but a doubt can hold a relay up.
	d.lead(func(place) *servers.Broker { return rest[random.IntN(len(rest))] })
	d.isolate(lagging)

	var topics []string
	rounds, in := scaled(t, 8), 0
	for n := range rounds {
		fresh := d.createBehindTheBackOf(ctx, lagging, n)
		topics = append(topics, fresh...)
		var relays []*testenv.Running
		for shard, topic := range fresh {
			for range 10 {
				fields := append(d.Fields("for a new topic"), outbox.FieldTopic, topic)
				d.AddFields(shard, "*", fields...)
			}
			cfg := d.Config()
			cfg.Kafka, cfg.Assign = seededBy(lagging), []int{shard}
			cfg.Topics.OnUnknown = relay.UnknownTopicDeadLetter
			relays = append(relays, d.Env.Run(cfg))
		}
		err := d.Within(15*time.Second, func(ctx context.Context) error {
			return d.Committed(ctx, seededBy(rest...))
		})
		if err == nil {
			in++
		}
		if n == rounds-1 {
			t.Logf("%d of %d rounds were delivered while broker %d was cut off", in, rounds, lagging.ID)
			d.heal(lagging)
			d.AwaitCommitted(2 * time.Minute)
		}
		for _, r := range relays {
			if err := r.Stop(); err != nil {
				t.Fatal(err)
			}
		}
	}
	dead := d.Records(names.DeadLetterTopic(d.Outbox))
	if len(dead) > 0 {
		t.Errorf("%d entries are dead-lettered, for topics that exist", len(dead))
	}
	verify(t, d.Env, topics...)
}

// createBehindTheBackOf creates a topic for each shard that the other brokers know and the one that
// is cut off does not.
func (d *isolable) createBehindTheBackOf(
	ctx context.Context, lagging *servers.Broker, round int,
) []string {
	d.t.Helper()
	var topics []string
	for shard := range d.Shards {
		topics = append(topics, fmt.Sprintf("%s.new-%d-%d", d.Outbox, round, shard))
	}
	rest := d.others(lagging)
	created, err := kadm.NewClient(d.ask[rest[0].ID]).CreateTopics(ctx, 1, 3, nil, topics...)
	if err == nil {
		err = created.Error()
	}
	if err != nil {
		d.t.Fatal(err)
	}
	d.Await(time.Minute, func(ctx context.Context) error {
		for _, b := range rest {
			v, err := d.viewOf(ctx, b)
			if err != nil {
				return err
			}
			for _, topic := range topics {
				if p, ok := v[place{topic, 0}]; !ok || p.Leader < 0 {
					return fmt.Errorf("broker %d says that topic %s has no leader", b.ID, topic)
				}
			}
		}
		return nil
	})
	v, err := d.viewOf(ctx, lagging)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, topic := range topics {
		if _, ok := v[place{topic, 0}]; ok {
			d.t.Fatalf("the broker that is cut off knows topic %s", topic)
		}
	}
	return topics
}
