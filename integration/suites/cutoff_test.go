//go:build integration

package suites_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/integration/testenv"
)

// separations are what cuts a broker off.
var separations = []struct {
	name  string
	begin func(*servers.Broker) error
}{
	{"isolated", (*servers.Broker).Isolate},
	{"without controllers", (*servers.Broker).IsolateFromControllers},
	{"held", (*servers.Broker).Hold},
}

// cutOffs is how many times a broker is cut off in a run.
const cutOffs = 10

// TestExactlyOnceWhileBrokersAreCutOff: relays die and are replaced while one broker after another
// is cut off from the other brokers or from their controllers, and goes on serving clients with
// what it knows. Leaders of partitions and coordinators are there twice for a while, the old one
// without knowing it. Each event is delivered once.
func TestExactlyOnceWhileBrokersAreCutOff(t *testing.T) {
	t.Parallel()
	ctx := deadline(t, 20*time.Minute)
	d := newIsolable(ctx, t, 4)
	random := integration.Seed(t)
	events := scaled(t, 40_000)
	shop := d.Open(ctx, testenv.ShopOptions{Events: events, Seed: random.Uint64(), Gated: true})
	c := newCrew(t, d.Env, 5, random, testenv.Settings{"session_timeout": session.String()})
	for n := range cutOffs {
		from, to := events*n/cutOffs, events*(n+1)/cutOffs
		third := (to - from) / 3
		write := func(part int) {
			begin := from + part*third
			shop.Allow(begin + third)
			shop.Await(time.Minute, begin+random.IntN(max(1, third)))
		}
		write(0)
		b, s := d.k.Brokers[random.IntN(len(d.k.Brokers))], separations[random.IntN(len(separations))]
		began := time.Now()
		if err := s.begin(b); err != nil {
			t.Fatal(err)
		}
		write(1)
		// Some faults come before the others have noticed, some when they have delivered more than
		// the broker that is cut off can know of.
		before := d.Within(upTo(random, 10*time.Second), d.passed(b))
		c.fault()
		write(2)
		after := d.Within(upTo(random, 10*time.Second), d.passed(b))
		t.Logf("broker %d %s for %s: the relays %s before a fault, and %s after it", b.ID, s.name,
			time.Since(began).Round(100*time.Millisecond), had(before, "delivered"), had(after, "delivered"))
		if err := b.Heal(); err != nil {
			t.Fatal(err)
		}
		if random.IntN(2) == 0 {
			d.awaitJoined()
		}
	}
	shop.Allow(events)
	shop.Close(time.Minute)
	d.awaitJoined()
	c.rest()
	began := time.Now()
	d.AwaitCommitted(3 * time.Minute)
	t.Logf("all delivered %s after the last fault", time.Since(began).Round(100*time.Millisecond))
	verify(t, d.Env) // before the crew leaves, which keeps its logs if the test has failed
	c.leave()
}

// upTo is a random part of a time.
func upTo(random *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(most)))
}

// passed is whether everything is delivered, as the brokers say that are not cut off.
func (d *isolable) passed(cut *servers.Broker) func(context.Context) error {
	return func(ctx context.Context) error { return d.Committed(ctx, seededBy(d.others(cut)...)) }
}
