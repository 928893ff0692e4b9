//go:build integration

package suites_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/internal/names"
)

// What an audit may not read, or what is not there any more, is never agreement. These are the
// faults that need servers of their own, or users.

// TestAuditWithoutLeaveInRedis: a user who may not read a stream, not ask for its state, or not see
// one of the streams.
func TestAuditWithoutLeaveInRedis(t *testing.T) {
	t.Parallel()
	w, c := audited(t)
	deliver(t, w, c, 100)
	o := integration.Servers(t).Redis.Options()
	for name, rules := range map[string][]any{
		"XRANGE":   {"~*", "+@all", "-xrange"},
		"XINFO":    {"~*", "+@all", "-xinfo"},
		"a stream": {"~" + names.LayoutKey(w.Outbox), "~" + w.Stream(0), "+@all"},
		"layout":   {"~" + w.Stream(0), "~" + w.Stream(1), "+@all"},
	} {
		user := w.Outbox + "-" + strings.ReplaceAll(name, " ", "-")
		args := append([]any{"ACL", "SETUSER", user, "on", ">secret", "resetkeys"}, rules...)
		if err := w.Redis.Do(deadline(t, time.Minute), args...).Err(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.Redis.Do(context.Background(), "ACL", "DELUSER", user) })
		client := redis.NewClient(&redis.Options{
			Addr: o.Addr, DB: o.DB, Username: user,
			Password: "secret",
		})
		cfg := c.config()
		cfg.Redis = client
		incomplete(t, audit(t, cfg), "NOPERM")
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
	if r := audit(t, c.config()); r.Verdict != consistency.Agree || r.Entries != 200 {
		t.Fatalf("afterwards: %s, %d entries: %v %v", r.Verdict, r.Entries, r.Findings, r.Incomplete)
	}
}

func TestAuditIsIncompleteWhenAStreamIsReplaced(t *testing.T) {
	t.Parallel()
	w, c := audited(t)
	ctx := deadline(t, time.Minute)
	if err := errors.Join(w.Redis.Rename(ctx, w.Stream(1), w.Stream(1)+":moved").Err(),
		w.Redis.Set(ctx, w.Stream(1), "intruder", 0).Err()); err != nil {
		t.Fatal(err)
	}
	incomplete(t, audit(t, c.config()), "replaced")
	if err := w.Redis.Rename(ctx, w.Stream(1)+":moved", w.Stream(1)).Err(); err != nil {
		t.Fatal(err)
	}
	deliver(t, w, c, 100)
	if r := audit(t, c.config()); r.Verdict != consistency.Agree || r.Entries != 200 {
		t.Fatalf("afterwards: %s, %d entries: %v %v", r.Verdict, r.Entries, r.Findings, r.Incomplete)
	}
}

// TestAuditIsIncompleteWhenTheReplicaLags: entries are read from a replica that has been cut off;
// when it has caught up the next audit agrees.
func TestAuditIsIncompleteWhenTheReplicaLags(t *testing.T) {
	t.Parallel()
	ctx := deadline(t, 2*time.Minute)
	nodes := make([]*servers.Redis, 2)
	for i := range nodes {
		var err error
		if nodes[i], err = servers.StartRedis(ctx,
			servers.RedisOptions{Name: "redis-" + strconv.Itoa(i)}); err != nil {
			t.Fatal(err)
		}
		integration.CloseAtEnd(t, nodes[i])
	}
	proxy, err := servers.NewProxy(nodes[0].Addr)
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, proxy)
	replica := integration.RedisClient(t, nodes[1], nil)
	host, port, _ := strings.Cut(proxy.Addr(), ":")
	if err := replica.ReplicaOf(ctx, host, port).Err(); err != nil {
		t.Fatal(err)
	}
	w := testenv.New(t, testenv.Options{
		Shards: 2,
		Redis:  redis.UniversalOptions{Addrs: []string{nodes[0].Addr}},
	})
	c := newCarrier(t, w)
	cfg := c.config()
	cfg.Replica = replica
	caughtUp := func(ctx context.Context) error {
		for shard := range w.Shards {
			if n, err := replica.XLen(ctx, w.Stream(shard)).Result(); err != nil ||
				n != w.Redis.XLen(ctx, w.Stream(shard)).Val() {
				return errors.Join(err, fmt.Errorf("the replica has %d entries", n))
			}
		}
		return nil
	}
	deliver(t, w, c, 1000)
	w.Await(time.Minute, caughtUp)
	if r := audit(t, cfg); r.Verdict != consistency.Agree || r.Entries != 2000 {
		t.Fatalf("%s, %d entries: %v %v", r.Verdict, r.Entries, r.Findings, r.Incomplete)
	}
	proxy.Pause()
	deliver(t, w, c, 10)
	incomplete(t, audit(t, cfg), "it lags behind")
	proxy.Heal()
	w.Await(time.Minute, caughtUp)
	if r := audit(t, cfg); r.Verdict != consistency.Agree || r.Entries != 20 {
		t.Fatalf("%s, %d entries: %v %v", r.Verdict, r.Entries, r.Findings, r.Incomplete)
	}
}

// TestAuditWaitsForAnOpenTransaction: somebody else's transaction holds back all records after it,
// which read_committed consumers do not see either.
func TestAuditWaitsForAnOpenTransaction(t *testing.T) {
	t.Parallel()
	w, c := audited(t)
	ctx := deadline(t, time.Minute)
	holder, err := kgo.NewClient(append(w.KafkaDirect(), kgo.TransactionalID(w.Outbox+"-holder"),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionTimeout(time.Minute))...)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	if err := holder.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := holder.ProduceSync(ctx,
		&kgo.Record{Topic: w.Topic(), Partition: 1, Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	deliver(t, w, c, 100)
	r := audit(t, c.config())
	incomplete(t, r, "a transaction is open")
	if len(r.Findings) > 0 {
		t.Errorf("%v", r.Findings)
	}
	if err := holder.EndTransaction(ctx, kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	if err := integration.AwaitStable(ctx, w.KafkaDirect(), w.Topic()); err != nil {
		t.Fatal(err)
	}
	if r := audit(t, c.config()); r.Verdict != consistency.Agree || r.Entries != 200 {
		t.Fatalf("%s, %d entries: %v %v", r.Verdict, r.Entries, r.Findings, r.Incomplete)
	}
}

// TestAuditOnAKafkaThatForgetsAndForbids has a broker with an authorizer, whose cleaner and
// retention come at once.
func TestAuditOnAKafkaThatForgetsAndForbids(t *testing.T) {
	t.Parallel()
	k, err := servers.StartKafka(deadline(t, 2*time.Minute),
		servers.KafkaOptions{Properties: map[string]string{
			"authorizer.class.name":             "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
			"allow.everyone.if.no.acl.found":    "true", // so that a rule that denies is all there is
			"log.retention.check.interval.ms":   "200",
			"log.initial.task.delay.ms":         "100",
			"log.cleaner.backoff.ms":            "100",
			"log.segment.delete.delay.ms":       "100",
			"log.cleaner.min.cleanable.ratio":   "0.01",
			"log.cleaner.min.compaction.lag.ms": "0",
		}})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range k.Brokers {
		integration.CloseAtEnd(t, b)
	}
	t.Logf("servers: %s of its own, %s", k.Version, integration.Servers(t).Redis.Version)
	begin := func(t *testing.T) (*testenv.Env, *carrier, *kadm.Client) {
		t.Helper()
		w := testenv.New(t, testenv.Options{Shards: 2, Kafka: k.Addrs()})
		c := newCarrier(t, w)
		deliver(t, w, c, 500)
		if r := audit(t, c.config()); r.Verdict != consistency.Agree {
			t.Fatalf("%v %v", r.Findings, r.Incomplete)
		}
		return w, c, kadm.NewClient(w.Kafka)
	}

	t.Run("a rule hides the topic", func(t *testing.T) {
		w, c, admin := begin(t)
		ctx := deadline(t, time.Minute)
		deliver(t, w, c, 300)
		hide := kadm.NewACLs().Topics(w.Topic()).ResourcePatternType(kadm.ACLPatternLiteral).Operations(
			kmsg.ACLOperationRead, kmsg.ACLOperationDescribe).
			Deny("User:ANONYMOUS").DenyHosts("*")
		if _, err := admin.CreateACLs(ctx, hide); err != nil {
			t.Fatal(err)
		}
		cfg := c.config()
		w.Await(time.Minute, func(ctx context.Context) error {
			if _, err := admin.ListTopics(ctx, w.Topic()); !errors.Is(err, kerr.TopicAuthorizationFailed) {
				return fmt.Errorf("the topic can be seen: %w", err)
			}
			return nil
		})
		r := audit(t, cfg)
		incomplete(t, r, "may not read")
		if r.Counts[consistency.Unverifiable] != 600 || len(r.Findings) > 2 {
			t.Errorf("%v %v", r.Counts, r.Findings)
		}
		rules := kadm.NewACLs().Topics(w.Topic()).ResourcePatternType(
			kadm.ACLPatternLiteral).Operations().Deny().DenyHosts().Allow().AllowHosts()
		if _, err := admin.DeleteACLs(ctx, rules); err != nil {
			t.Fatal(err)
		}
		w.Await(time.Minute, func(ctx context.Context) error {
			d, err := admin.ListTopics(ctx, w.Topic())
			return errors.Join(err, d[w.Topic()].Err)
		})
		deliver(t, w, c, 100)
		// With one rule everything else needs one too: it may be seen, and not be read.
		forbid := kadm.NewACLs().Topics(w.Topic()).ResourcePatternType(kadm.ACLPatternLiteral).Operations(
			kmsg.ACLOperationDescribe).Allow("User:ANONYMOUS").AllowHosts("*")
		if _, err := admin.CreateACLs(ctx, forbid); err != nil {
			t.Fatal(err)
		}
		w.Await(time.Minute, func(ctx context.Context) error {
			if err := integration.ReadCommitted(ctx, w.KafkaDirect(), func(*kgo.Record) error {
				return nil
			}, w.Topic()); !errors.Is(err, kerr.TopicAuthorizationFailed) {
				return fmt.Errorf("the topic can be read: %w", err)
			}
			return nil
		})
		incomplete(t, audit(t, cfg), "TOPIC_AUTHORIZATION_FAILED")
		if _, err := admin.DeleteACLs(ctx, rules); err != nil {
			t.Fatal(err)
		}
		w.Await(time.Minute, func(ctx context.Context) error {
			return integration.ReadCommitted(ctx, w.KafkaDirect(), func(*kgo.Record) error {
				return nil
			}, w.Topic())
		})
		if r := audit(t, cfg); r.Verdict != consistency.Agree || r.Entries != 200 || len(r.Findings) > 0 {
			t.Errorf("afterwards: %s, %d entries: %v %v", r.Verdict, r.Entries, r.Findings, r.Incomplete)
		}
	})

	t.Run("the topic is deleted and made again", func(t *testing.T) {
		w, c, admin := begin(t)
		ctx := deadline(t, time.Minute)
		deliver(t, w, c, 300)
		if _, err := admin.DeleteTopics(ctx, w.Topic()); err != nil {
			t.Fatal(err)
		}
		w.Await(time.Minute, func(ctx context.Context) error {
			answer, err := admin.CreateTopic(ctx, int32(w.Shards), 1, nil, w.Topic())
			return errors.Join(err, answer.Err)
		})
		c.connect()
		deliver(t, w, c, 100)
		r := audit(t, c.config())
		incomplete(t, r, "made again")
		if r.Counts[consistency.Unverifiable] != 600 {
			t.Errorf("%v", r.Counts)
		}
	})

	t.Run("retention", func(t *testing.T) {
		w, c, admin := begin(t)
		deliver(t, w, c, 300)
		alter(t, admin, w.Topic(), "retention.ms", "1")
		w.Await(time.Minute, func(ctx context.Context) error {
			return starts(ctx, admin, w.Topic(), 2*800)
		})
		alter(t, admin, w.Topic(), "retention.ms", "-1")
		deliver(t, w, c, 100)
		r := audit(t, c.config())
		incomplete(t, r, "retention")
		if r.Counts[consistency.Unverifiable] != 600 || r.Entries != 800 {
			t.Errorf("%v", r.Counts)
		}
		deliver(t, w, c, 100)
		if r := audit(t, c.config()); r.Verdict != consistency.Agree || r.Entries != 200 {
			t.Errorf("afterwards: %s, %d entries: %v %v", r.Verdict, r.Entries, r.Findings, r.Incomplete)
		}
	})

	t.Run("compaction", func(t *testing.T) {
		w, c, admin := begin(t)
		alter(t, admin, w.Topic(), "cleanup.policy", "compact")
		alter(t, admin, w.Topic(), "segment.ms", "100")
		deliver(t, w, c, 300)
		w.Await(time.Minute, func(context.Context) error {
			// The segment that is written to is not cleaned: something has to end it.
			for p := range int32(w.Shards) {
				c.produce(&kgo.Record{
					Topic: w.Topic(), Partition: p, Key: []byte("filler"),
					Value: []byte("x"),
				})
			}
			c.flush()
			if n := len(w.Records(w.Topic())); n > 200 {
				return fmt.Errorf("%d records are left", n)
			}
			return nil
		})
		r := audit(t, c.config())
		incomplete(t, r, "is compacted")
		if r.Counts[consistency.Unverifiable] == 0 || r.Counts[consistency.Lost] > 0 {
			t.Errorf("%v", r.Counts)
		}
	})
}

func alter(t *testing.T, admin *kadm.Client, topic, name, value string) {
	t.Helper()
	answers, err := admin.AlterTopicConfigs(deadline(t, time.Minute),
		[]kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: kadm.StringPtr(value)}}, topic)
	for _, a := range answers {
		err = errors.Join(err, a.Err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// starts fails until n records were removed from the beginning of a topic's partitions.
func starts(ctx context.Context, admin *kadm.Client, topic string, n int64) error {
	offsets, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return err
	}
	removed := int64(0)
	offsets.Each(func(o kadm.ListedOffset) { removed += o.Offset })
	if removed < n {
		return fmt.Errorf("%d of %d records were removed", removed, n)
	}
	return nil
}
