//go:build integration

package suites_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/internal/names"
)

// incomplete wants the verdict incomplete with a reason that has the text.
func incomplete(t *testing.T, r *consistency.Report, text string) {
	t.Helper()
	if r.Verdict != consistency.Incomplete {
		t.Errorf("verdict %s, want incomplete: %v %v", r.Verdict, r.Findings, r.Incomplete)
	}
	all := strings.Join(r.Incomplete, "\n")
	for _, f := range r.Findings {
		all += "\n" + f.Detail
	}
	if !strings.Contains(all, text) {
		t.Errorf("no reason has %q: %s", text, all)
	}
}

// audited is an environment of which everything so far was delivered and audited.
func audited(t *testing.T) (*testenv.Env, *carrier) {
	t.Helper()
	w := shared(t, 2)
	c := newCarrier(t, w)
	deliver(t, w, c, 1000)
	if r := audit(t, c.config()); r.Verdict != consistency.Agree {
		t.Fatalf("%v %v", r.Findings, r.Incomplete)
	}
	return w, c
}

// deliver adds entries to every shard and carries them.
func deliver(t *testing.T, w *testenv.Env, c *carrier, n int) {
	t.Helper()
	for shard := range w.Shards {
		c.add(shard, n)
		c.carry(shard, c.waiting(shard))
	}
}

func TestAuditIsIncompleteWithoutATopic(t *testing.T) {
	t.Parallel()
	w, c := audited(t)
	deliver(t, w, c, 1000)
	if _, err := kadm.NewClient(w.Kafka).DeleteTopics(deadline(t, time.Minute),
		w.Topic()); err != nil {
		t.Fatal(err)
	}
	cfg := c.config()
	cfg.Watch = []string{c.stray}
	incomplete(t, audit(t, cfg), "does not exist")
}

func TestAuditIsIncompleteWhenRetentionWasFaster(t *testing.T) {
	t.Parallel()
	w, c := audited(t)
	deliver(t, w, c, 1000)
	admin := kadm.NewClient(w.Kafka)
	ends, err := admin.ListEndOffsets(deadline(t, time.Minute), w.Topic())
	if err != nil {
		t.Fatal(err)
	}
	before := kadm.Offsets{}
	ends.Each(func(o kadm.ListedOffset) { before.AddOffset(o.Topic, o.Partition, o.Offset-10, -1) })
	if _, err := admin.DeleteRecords(deadline(t, time.Minute), before); err != nil {
		t.Fatal(err)
	}
	r := audit(t, c.config())
	incomplete(t, r, "retention")
	if r.Counts[consistency.Lost] > 0 || r.Counts[consistency.Unverifiable] == 0 {
		t.Errorf("%v", r.Counts)
	}
}

func TestAuditIsIncompleteWithoutAStream(t *testing.T) {
	t.Parallel()
	w, c := audited(t)
	if err := w.Redis.Rename(deadline(t, time.Minute), w.Stream(1),
		w.Stream(1)+":moved").Err(); err != nil {
		t.Fatal(err)
	}
	incomplete(t, audit(t, c.config()), "renamed")
}

func TestAuditIsIncompleteWithoutRedis(t *testing.T) {
	t.Parallel()
	_, c := audited(t)
	cfg := c.config()
	dead := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	defer dead.Close()
	cfg.Redis = dead
	incomplete(t, audit(t, cfg), "unreachable")
}

// TestAuditIsIncompleteWhenKafkaGoesAway cuts the brokers off while records are read; the next
// audit goes on where that one had to stop.
func TestAuditIsIncompleteWhenKafkaGoesAway(t *testing.T) {
	t.Parallel()
	w, c := audited(t)
	deliver(t, w, c, 10_000)
	proxies := servers.NewProxies()
	integration.CloseAtEnd(t, proxies)
	cfg := c.config()
	cfg.Kafka = append(cfg.Kafka, kgo.Dialer(proxies.Dial))
	cfg.Rate = 10_000 // so that there is a half-way
	cut := time.AfterFunc(time.Second, proxies.Cut)
	defer cut.Stop()
	r := audit(t, cfg)
	if r.Verdict != consistency.Incomplete || len(r.Incomplete) == 0 {
		t.Fatalf("%s: %v", r.Verdict, r.Incomplete)
	}
	if r := audit(t, c.config()); r.Verdict != consistency.Agree || r.Entries != 20_000 {
		t.Fatalf("afterwards: %s, %d entries: %v %v", r.Verdict, r.Entries, r.Findings, r.Incomplete)
	}
}

// TestAuditDoesNotCallWaitingEntriesLost: what no relay has delivered yet is neither lost nor fine,
// and is compared when it has come.
func TestAuditDoesNotCallWaitingEntriesLost(t *testing.T) {
	t.Parallel()
	_, c := audited(t)
	c.add(0, 500)
	waiting := c.waiting(0)
	c.carry(0, waiting[:200])
	r := audit(t, c.config())
	incomplete(t, r, "not delivered yet")
	if len(r.Findings) > 0 || r.Range[0].Pending != 300 || r.Entries != 200 {
		t.Fatalf("%v %+v", r.Findings, r.Range[0])
	}
	c.carry(0, waiting[200:])
	if r := audit(t, c.config()); r.Verdict != consistency.Agree || r.Entries != 300 {
		t.Fatalf("%s, %d entries: %v %v", r.Verdict, r.Entries, r.Findings, r.Incomplete)
	}
}

// TestAuditFindsThatRedisWentBack restores a backup of Redis after its newest entries were
// delivered and audited.
func TestAuditFindsThatRedisWentBack(t *testing.T) {
	t.Parallel()
	server, err := servers.StartRedis(deadline(t, time.Minute),
		servers.RedisOptions{Config: []string{"appendfsync always"}})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, server)
	o := server.Options()
	w := testenv.New(t, testenv.Options{
		Shards: 1,
		Redis:  redis.UniversalOptions{Addrs: []string{o.Addr}},
	})
	c := newCarrier(t, w)
	deliver(t, w, c, 100)
	backup, err := server.CopyData(deadline(t, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	deliver(t, w, c, 7)
	if r := audit(t, c.config()); r.Verdict != consistency.Agree {
		t.Fatalf("%v %v", r.Findings, r.Incomplete)
	}
	if err := server.RestoreData(deadline(t, time.Minute), backup); err != nil {
		t.Fatal(err)
	}
	deliver(t, w, c, 50)
	r := audit(t, c.config())
	if r.Verdict != consistency.Drift || r.Counts[consistency.Orphaned] != 7 || len(r.Findings) != 7 {
		t.Fatalf("%s: %v %v", r.Verdict, r.Findings, r.Incomplete)
	}
	if !strings.Contains(strings.Join(r.Incomplete, ""), "Redis went back") {
		t.Errorf("%v", r.Incomplete)
	}
}

// TestAuditFindsThatRedisWentBackToWhatWasAudited restores a backup that has all that was audited,
// and not what was delivered since.
func TestAuditFindsThatRedisWentBackToWhatWasAudited(t *testing.T) {
	t.Parallel()
	server, err := servers.StartRedis(deadline(t, time.Minute),
		servers.RedisOptions{Config: []string{"appendfsync always"}})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, server)
	w := testenv.New(t, testenv.Options{
		Shards: 1,
		Redis:  redis.UniversalOptions{Addrs: []string{server.Addr}},
	})
	c := newCarrier(t, w)
	deliver(t, w, c, 100)
	if r := audit(t, c.config()); r.Verdict != consistency.Agree {
		t.Fatalf("%v %v", r.Findings, r.Incomplete)
	}
	backup, err := server.CopyData(deadline(t, time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	deliver(t, w, c, 7)
	if err := server.RestoreData(deadline(t, time.Minute), backup); err != nil {
		t.Fatal(err)
	}
	incomplete(t, audit(t, c.config()), "Redis went back")
	deliver(t, w, c, 50)
	if r := audit(t, c.config()); r.Verdict != consistency.Drift ||
		r.Counts[consistency.Orphaned] != 7 || len(r.Findings) != 7 {
		t.Errorf("%s: %v %v", r.Verdict, r.Findings, r.Incomplete)
	}
	if r := audit(t, c.config()); r.Verdict != consistency.Agree || len(r.Findings) > 0 {
		t.Errorf("reported again: %v %v", r.Findings, r.Incomplete)
	}
}

// TestAuditCallsALateRecordLate: a record that comes between the first look and the second one is
// late, and not lost, also for the next audit.
func TestAuditCallsALateRecordLate(t *testing.T) {
	t.Parallel()
	c := begun(t, 1)
	c.add(0, 100)
	entries := c.waiting(0)
	p := c.plan(0, entries)
	missing := p.records[50]
	p.records[50] = nil
	c.send(p, 0, entries)

	faults := integration.RedisFaults("XRANGE") // none: it counts
	o := integration.Servers(t).Redis.Options()
	o.Dialer = faults.Dial
	client := redis.NewClient(o)
	defer client.Close()
	cfg := c.config()
	cfg.Redis, cfg.Settle = client, 5*time.Second
	done := make(chan *consistency.Report)
	go func() { done <- audit(t, cfg) }()
	c.w.Await(time.Minute, func(context.Context) error {
		// The last audited entry, those of the round, and, when its records were read, those of the tile
		// that does not agree.
		if n := faults.Calls(); n < 3 {
			return fmt.Errorf("%d reads of the stream", n)
		}
		return nil
	})
	c.produce(missing...)
	c.flush()
	r := <-done
	if r.Verdict != consistency.Agree || len(r.Findings) != 1 ||
		r.Findings[0].Kind != consistency.Late || r.Findings[0].Entry.String() != entries[50].ID {
		t.Errorf("%s: %v %v", r.Verdict, r.Findings, r.Incomplete)
	}
	if r := audit(t, c.config()); r.Verdict != consistency.Agree || len(r.Findings) > 0 {
		t.Errorf("%s: %v %v", r.Verdict, r.Findings, r.Incomplete)
	}
}

// TestAuditDoesNotCallPendingEntriesLost: a relay of at-least-once delivery has died with an entry
// in hand whose successor it had sent. Without being pending the entry is lost.
func TestAuditDoesNotCallPendingEntriesLost(t *testing.T) {
	t.Parallel()
	c := begun(t, 1)
	ctx := deadline(t, time.Minute)
	c.add(0, 10)
	entries := c.waiting(0)
	if err := c.w.Redis.XGroupSetID(ctx, c.w.Stream(0), names.ConsumerGroup,
		c.last[0]).Err(); err != nil {
		t.Fatal(err)
	}
	read := redis.XReadGroupArgs{
		Group: names.ConsumerGroup, Consumer: "died",
		Streams: []string{c.w.Stream(0), ">"}, Count: 10,
	}
	if err := c.w.Redis.XReadGroup(ctx, &read).Err(); err != nil {
		t.Fatal(err)
	}
	p := c.plan(0, entries)
	for i, records := range p.records {
		if i != 5 {
			c.produce(records...)
		}
	}
	c.flush()
	r := audit(t, c.config())
	incomplete(t, r, "pending in the consumer group")
	if len(r.Findings) > 0 {
		t.Errorf("%v", r.Findings)
	}
	if err := c.w.Redis.XAck(ctx, c.w.Stream(0), names.ConsumerGroup,
		entries[5].ID).Err(); err != nil {
		t.Fatal(err)
	}
	if r := audit(t, c.config()); r.Verdict != consistency.Drift || r.Counts[consistency.Lost] != 1 ||
		len(r.Findings) != 1 {
		t.Errorf("confirmed without a record: %s: %v %v", r.Verdict, r.Findings, r.Incomplete)
	}
}
