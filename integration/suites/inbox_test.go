//go:build integration

package suites_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/process"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay/inbox"
)

// inboxFaults is how many instances die, stand still or are replaced in a run.
const inboxFaults = 24

// TestInboxExactlyOnceWhileInstancesDie: half a million records of eight partitions are applied by
// three processes of any transaction size that are killed, stopped past their session and
// continued, and replaced. At the end every counter is exact and every last value right.
func TestInboxExactlyOnceWhileInstancesDie(t *testing.T) {
	t.Parallel()
	w := newInboxWorld(t, 8)
	random := integration.Seed(t)
	records, keys := scaled(t, 500_000), scaled(t, 10_000)
	c := &inboxCrew{t: t, w: w, random: random}
	for range 3 {
		c.hire()
	}
	operator := w.operator()
	began := time.Now()
	for n := range inboxFaults {
		from, to := records*n/inboxFaults, records*(n+1)/inboxFaults
		w.write(to-from, keys, random)
		if random.IntN(3) > 0 { // in the middle of it; else while it begins or has ended
			w.await(3*time.Minute, "some progress", func() bool {
				return w.passed(operator) >= uint64(from+random.IntN(to-from))
			})
		}
		c.fault()
	}
	c.resting.Wait()
	w.await(5*time.Minute, "all records applied", func() bool {
		return w.passed(operator) >= uint64(records)
	})
	t.Logf("%d records, %d faults (%s) in %s", records, inboxFaults, c,
		time.Since(began).Round(time.Second))
	w.verify()
	if got := w.passed(operator); got != uint64(records) {
		t.Errorf("positions count %d records, %d were written", got, records)
	}
	if letters, err := operator.Letters(deadline(t, time.Minute)); err != nil || len(letters) > 0 {
		t.Errorf("%d dead letters, %v", len(letters), err)
	}
	c.leave()
}

// inboxCrew is a number of processes of one inbox that die and are replaced.
type inboxCrew struct {
	t       *testing.T
	w       *inboxWorld
	random  *rand.Rand
	working []*process.Process
	hired   int

	resting              sync.WaitGroup
	kills, stops, leaves int
}

func (c *inboxCrew) hire() {
	c.hired++
	sizes := []int{1, 17, 1000}
	c.working = append(c.working, c.w.spawn(fmt.Sprint("instance-", c.hired),
		sizes[c.random.IntN(len(sizes))]))
}

// fault makes one instance die, stand still for longer than its session, or leave in good order;
// another one comes.
func (c *inboxCrew) fault() {
	c.t.Helper()
	i := c.random.IntN(len(c.working))
	p := c.working[i]
	var err error
	switch c.random.IntN(3) {
	case 0:
		c.kills++
		err = p.Kill()
	case 1:
		c.stops++
		err = p.Stop()
		c.resting.Go(func() {
			time.Sleep(session + time.Second)
			if err := p.Cont(); err != nil {
				c.t.Errorf("continue: %v", err)
			}
			time.Sleep(2 * time.Second) // it finds out
			if err := p.Terminate(deadline(c.t, time.Minute)); err != nil {
				c.t.Errorf("an instance that stood still does not end well: %v\n%s", err, p.Output())
			}
		})
	default:
		c.leaves++
		err = p.Terminate(deadline(c.t, time.Minute))
	}
	if err != nil {
		c.t.Fatalf("%v\n%s", err, p.Output())
	}
	c.working = append(c.working[:i], c.working[i+1:]...)
	c.hire()
}

func (c *inboxCrew) leave() {
	c.t.Helper()
	for _, p := range c.working {
		if err := p.Terminate(deadline(c.t, time.Minute)); err != nil {
			c.t.Errorf("%v\n%s", err, p.Output())
		}
	}
}

func (c *inboxCrew) String() string {
	return fmt.Sprintf("%d killed, %d stopped, %d replaced", c.kills, c.stops, c.leaves)
}

// TestInboxOlderOwnersEffectsNeverAppear: two instances own one partition on purpose. The older one
// has run its handlers when the newer one takes the position further; nothing of what it had queued
// ever appears.
func TestInboxOlderOwnersEffectsNeverAppear(t *testing.T) {
	t.Parallel()
	w := newInboxWorld(t, 1)
	random := integration.Seed(t)
	n := scaled(t, 5000)
	both := map[string][]int32{w.settings.Topic: {0}}
	marker := outbox.StateKey(w.settings.Inbox, 0, "older")
	held, free := make(chan struct{}), make(chan struct{})
	var handled atomic.Int64
	_, stopOlder := w.run(func(c *inbox.Config) {
		c.Instance, c.Assign = "older", both
		inner := c.Handle
		c.Handle = func(ctx context.Context, tx *inbox.Tx, r inbox.Record) error {
			if handled.Add(1) == 3 {
				close(held)
				<-free
			}
			if handled.Load() <= 3 {
				tx.Queue().Incr(ctx, marker)
			}
			return inner(ctx, tx, r)
		}
	})
	w.write(n, 50, random)
	<-held
	operator := w.operator()
	newer, _ := w.run(func(c *inbox.Config) { c.Instance, c.Assign = "newer", both })
	w.await(time.Minute, "the newer one", func() bool { return w.passed(operator) >= uint64(n) })
	before := w.redis.Get(deadline(t, time.Minute), marker).Val()
	close(free)
	for range 20 { // both at work, on the same records
		w.write(n/20+1, 50, random)
		time.Sleep(200 * time.Millisecond)
	}
	want := uint64(n + 20*(n/20+1))
	w.await(2*time.Minute, "all of them", func() bool { return w.passed(operator) >= want })
	if after := w.redis.Get(deadline(t, time.Minute), marker).Val(); after != before {
		t.Errorf("the older one's effects appeared: %q, then %q", before, after)
	}
	w.verify()
	stopOlder()
	w.awaitState(newer, 0, inbox.Running)
}

// TestInboxHaltsWhereKafkaHasLess: retention passes the position, the topic is made again. Each
// halts with the evidence, and a reset that was previewed lets it go on.
func TestInboxHaltsWhereKafkaHasLess(t *testing.T) {
	t.Parallel()
	w := newInboxWorld(t, 1)
	random := integration.Seed(t)
	operator := w.operator()
	_, stop := w.run(func(*inbox.Config) {})
	w.write(100, 10, random)
	w.await(time.Minute, "applied", func() bool { return w.passed(operator) == 100 })
	w.verify()
	stop()

	w.write(100, 10, random)
	offsets := kadm.Offsets{}
	offsets.AddOffset(w.settings.Topic, 0, 150, -1)
	answers, err := w.admin.DeleteRecords(deadline(t, time.Minute), offsets)
	if err = errors.Join(err, answers.Error()); err != nil {
		t.Fatal(err)
	}
	in, stop := w.run(func(*inbox.Config) {})
	st := w.awaitState(in, 0, inbox.Halted)
	t.Logf("halted: %s (expected %s, found %s)", st.Reason, st.Expected, st.Found)
	if st.Expected != "offset 100" || st.Found != "a log that starts at 150" {
		t.Errorf("%+v", st)
	}
	reset(t, operator, inbox.ResetTo{Earliest: true}, 50)
	w.await(time.Minute, "goes on behind the gap", func() bool { return w.passed(operator) == 150 })

	if _, err := w.admin.DeleteTopic(deadline(t, time.Minute), w.settings.Topic); err != nil {
		t.Fatal(err)
	}
	w.kafka.PurgeTopicsFromClient(w.settings.Topic)
	w.await(time.Minute, "the topic is gone", func() bool {
		topics, err := w.admin.ListTopics(deadline(t, time.Minute), w.settings.Topic)
		return err == nil && topics[w.settings.Topic].Err != nil
	})
	w.create(1)
	w.await(time.Minute, "written to the new topic", func() bool {
		records, err := w.admin.ListEndOffsets(deadline(t, time.Minute), w.settings.Topic)
		return err == nil && records.Error() == nil
	})
	w.write(30, 10, random)
	w.await(time.Minute, "halted because of another ID", func() bool {
		st := in.Status()
		return len(st) == 1 && st[0].State == inbox.Halted && strings.Contains(st[0].Expected, "topic ID")
	})
	reset(t, operator, inbox.ResetTo{Earliest: true}, -1)
	w.await(time.Minute, "goes on with the new topic", func() bool {
		return w.passed(operator) == 180
	})
	stop()
}

// reset does what a preview says, after a look at it.
func reset(t *testing.T, a *inbox.Admin, to inbox.ResetTo, skipped int64) {
	t.Helper()
	plan, err := a.PlanReset(deadline(t, time.Minute), to)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range plan {
		if r.Skipped != skipped {
			t.Errorf("the preview says that %d are skipped, want %d", r.Skipped, skipped)
		}
		if err := a.Apply(deadline(t, time.Minute), r, "a test"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestInboxPartitionsAdded: partitions that come while the inbox runs are applied from their
// beginning, and keys keep their state where the slots divide the new number.
func TestInboxPartitionsAdded(t *testing.T) {
	t.Parallel()
	w := newInboxWorld(t, 2)
	random := integration.Seed(t)
	operator := w.operator()
	w.run(func(c *inbox.Config) { c.Start = inbox.End })
	w.await(time.Minute, "begun", func() bool {
		status, err := operator.Status(deadline(t, time.Minute))
		return err == nil && len(status) == 2 && status[0].Position != nil && status[1].Position != nil
	})
	w.write(1000, 100, random)
	w.await(time.Minute, "applied", func() bool { return w.passed(operator) == 1000 })
	if _, err := w.admin.UpdatePartitions(deadline(t, time.Minute), 4, w.settings.Topic); err != nil {
		t.Fatal(err)
	}
	w.await(time.Minute, "partitions added", func() bool {
		topics, err := w.admin.ListTopics(deadline(t, time.Minute), w.settings.Topic)
		return err == nil && len(topics[w.settings.Topic].Partitions) == 4
	})
	w.kafka.ForceMetadataRefresh()
	time.Sleep(time.Second)
	w.partitions = 4
	w.write(1000, 100, random)
	w.partitions = 2 // the tags stay what they were
	w.await(2*time.Minute, "the new ones applied", func() bool { return w.passed(operator) == 2000 })
	w.verify()
}

// TestInboxOnACluster: state, positions and the events of handlers are in the slots of their
// partitions, on three masters; a key elsewhere is refused before anything is sent.
func TestInboxOnACluster(t *testing.T) {
	t.Parallel()
	cluster, err := servers.StartRedisCluster(deadline(t, time.Minute), servers.RedisOptions{})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, cluster)
	client := redis.NewClusterClient(cluster.Options())
	t.Cleanup(func() { client.Close() })
	w := newInboxWorld(t, 8)
	w.redis = client
	random := integration.Seed(t)
	operator := w.operator()
	var elsewhere atomic.Bool
	in, _ := w.run(func(c *inbox.Config) {
		inner := c.Handle
		c.Handle = func(ctx context.Context, tx *inbox.Tx, r inbox.Record) error {
			if elsewhere.Load() {
				tx.Queue().Incr(ctx, "elsewhere")
			}
			return inner(ctx, tx, r)
		}
	})
	n := scaled(t, 20_000)
	w.write(n, 500, random)
	w.await(2*time.Minute, "all applied", func() bool { return w.passed(operator) == uint64(n) })
	w.verify()
	elsewhere.Store(true)
	w.write(100, 100, random)
	w.await(time.Minute, "a refusal", func() bool {
		for _, st := range in.Status() {
			if st.State == inbox.Halted {
				return strings.Contains(st.Reason, "Tx.StateKey")
			}
		}
		return false
	})
	elsewhere.Store(false)
	w.await(time.Minute, "the rest", func() bool { return w.passed(operator) == uint64(n+100) })
	w.verify()
	if found := client.Exists(deadline(t, time.Minute), "elsewhere").Val(); found != 0 {
		t.Error("a key elsewhere was written")
	}
}

// TestInboxHealsWhenRedisGoesBack: a Redis is set back to an older copy of its files, three times,
// while three processes apply. State and position go back together, so that in the end every
// counter is exact all the same.
func TestInboxHealsWhenRedisGoesBack(t *testing.T) {
	t.Parallel()
	server, err := servers.StartRedis(deadline(t, time.Minute),
		servers.RedisOptions{Config: []string{"appendonly yes", "appendfsync everysec"}})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, server)
	w := newInboxWorld(t, 4)
	w.redis = integration.RedisClient(t, server, nil)
	w.settings.Redis = redisAddress{Addr: server.Addr}
	random := integration.Seed(t)
	c := &inboxCrew{t: t, w: w, random: random}
	for range 3 {
		c.hire()
	}
	operator := w.operator()
	part, total := scaled(t, 50_000), 0
	for range 3 {
		w.write(part, 1000, random)
		total += part
		w.await(2*time.Minute, "half of it", func() bool {
			return w.passed(operator) >= uint64(total-part/2)
		})
		backup, err := server.CopyData(deadline(t, time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		w.write(part, 1000, random)
		total += part
		w.await(2*time.Minute, "more than half of the rest", func() bool {
			return w.passed(operator) >= uint64(total-part/3)
		})
		before := w.passed(operator)
		if err := server.RestoreData(deadline(t, time.Minute), backup); err != nil {
			t.Fatal(err)
		}
		t.Logf("set back at %d records, of %d", before, total)
	}
	w.await(3*time.Minute, "all applied", func() bool { return w.passed(operator) >= uint64(total) })
	w.verify()
	if got := w.passed(operator); got != uint64(total) {
		t.Errorf("positions count %d records, %d were written", got, total)
	}
	c.leave()
}
