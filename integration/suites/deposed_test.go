//go:build integration

package suites_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/relay"
)

// deposedShards is how many shards stand before a deposed leader at once. Each is a case of its
// own.
const deposedShards = 5

// TestDeposedLeader: the broker that leads the positions is cut off from the others and does not
// learn that another one leads now.
//
//	relay A        delivers 10 entries
//	               the leader of the positions is cut off, another one is elected
//	relay A        delivers 10 more, their position is at the new leader; ends
//	relay B        asks the old leader first, which says it leads and has the position of 10
//	               10 more entries are written
//	               the old leader is healed
//	relay B        has delivered the last 10, and not what A has delivered
//
// In every second round the other partitions and the coordinators may be the deposed leader's as
// well; then a relay may have to wait until it is healed.
func TestDeposedLeader(t *testing.T) {
	t.Parallel()
	rounds := (scaled(t, 50) + deposedShards - 1) / deposedShards
	ctx := deadline(t, time.Duration(rounds+3)*3*time.Minute)
	d := newIsolable(ctx, t, deposedShards)
	random := integration.Seed(t)
	for n := range rounds {
		began := time.Now()
		old := d.k.Brokers[random.IntN(len(d.k.Brokers))]
		rest := d.others(old)
		if n%2 == 1 {
			rest = d.k.Brokers
		}
		d.lead(positionsAt(d, old, rest, random))
		a := d.owner(fmt.Sprintf("a-%d", n), d.KafkaOpts())
		d.addEach(10, "before the cut")
		d.AwaitCommitted(time.Minute)

		d.isolate(old)
		d.addEach(10, "through the new leader")
		delivered := d.Within(30*time.Second, func(ctx context.Context) error {
			return d.Committed(ctx, seededBy(d.others(old)...))
		})
		if delivered != nil && n%2 == 0 {
			t.Fatalf("round %d: %v", n, delivered)
		}
		if err := a.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := d.leads(ctx, old); err != nil {
			t.Fatal(err) // then this is no deposed leader
		}
		b := d.owner(fmt.Sprintf("b-%d", n), seededBy(old))
		d.addEach(10, "after the relay's first look")
		// How far it comes before the heal is its affair. A relay that trusts the deposed leader
		// has sent by then, and waits for it to take the position, which it cannot.
		limit := time.Second + upTo(random, 6*time.Second)
		ran := d.Within(limit, func(context.Context) error { return d.running(b) })
		d.heal(old)
		d.AwaitCommitted(2 * time.Minute)
		if err := b.Stop(); err != nil {
			t.Fatal(err)
		}
		t.Logf("round %d, broker %d deposed: A %s, B %s before it was healed; took %s", n, old.ID,
			had(delivered, "delivered"), had(ran, "begun"), time.Since(began).Round(time.Second))
	}
	verify(t, d.Env)
}

// had says whether something was done, given why it was not.
func had(err error, done string) string {
	if err != nil {
		return "had not " + done
	}
	return "had " + done
}

// positionsAt chooses leaders: one broker for the positions topic, any of some others for all else.
func positionsAt(
	d *isolable, old *servers.Broker, rest []*servers.Broker, random *rand.Rand,
) func(place) *servers.Broker {
	return func(at place) *servers.Broker {
		if at.topic == names.PositionsTopic(d.Outbox) {
			return old
		}
		return rest[random.IntN(len(rest))]
	}
}

// TestPositionsAreNotReadFromADeposedLeader: whoever asks for positions while a deposed leader is
// there, and while it is healed, gets those that are committed, or an error, but never those that
// it has.
func TestPositionsAreNotReadFromADeposedLeader(t *testing.T) {
	t.Parallel()
	ctx := deadline(t, 10*time.Minute)
	d := newIsolable(ctx, t, deposedShards)
	random := integration.Seed(t)
	old := d.k.Brokers[random.IntN(len(d.k.Brokers))]
	d.lead(positionsAt(d, old, d.others(old), random))
	r := d.owner("a", d.KafkaOpts())
	d.addEach(10, "before the cut")
	d.AwaitCommitted(time.Minute)
	d.isolate(old)
	d.addEach(10, "through the new leader")
	d.Await(time.Minute, func(ctx context.Context) error {
		return d.Committed(ctx, seededBy(d.others(old)...))
	})
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := d.leads(ctx, old); err != nil {
		t.Fatal(err)
	}
	want, err := relay.ReadPositions(ctx, seededBy(d.others(old)...), d.Outbox, d.Shards)
	if err != nil {
		t.Fatal(err)
	}

	var right, wrong int
	failed := map[string]int{}
	read := func(brokers ...*servers.Broker) bool {
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		got, err := relay.ReadPositions(short, seededBy(brokers...), d.Outbox, d.Shards)
		if err != nil {
			failed[err.Error()]++
			return false
		}
		for shard, p := range want {
			if got[shard].Entry != p.Entry || got[shard].Count != p.Count {
				wrong++
				t.Logf("shard %d is at %s after %d entries, read %s after %d",
					shard, p.Entry, p.Count, got[shard].Entry, got[shard].Count)
				return false
			}
		}
		right++
		return true
	}
	for range scaled(t, 20) {
		read(old)
		read(d.k.Brokers...)
	}
	t.Logf("while broker %d was deposed: %d right, %d wrong, errors: %v", old.ID, right, wrong, failed)
	if err := old.Heal(); err != nil {
		t.Fatal(err)
	}
	d.Await(2*time.Minute, func(context.Context) error {
		if !read(old) {
			return fmt.Errorf("positions are not read: %v", failed)
		}
		if d.leads(ctx, old) == nil {
			return errors.New("the deposed leader has not learned of it")
		}
		return nil
	})
	t.Logf("when it was healed: %d right, %d wrong, errors: %v", right, wrong, failed)
	if wrong > 0 {
		t.Errorf("%d of %d answers were the deposed leader's", wrong, wrong+right)
	}
	d.awaitJoined()
	if !read(d.k.Brokers...) {
		t.Errorf("positions are not read after all: %v", failed)
	}
}
