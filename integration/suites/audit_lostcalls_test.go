//go:build integration

package suites_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/testenv"
)

// TestAuditNeverAgreesByALostCall makes each call of an audit fail in turn, to Redis and to Kafka,
// before it is sent or before it is answered. A run finds what is planted, or says that it could
// not look, and never anything else.
func TestAuditNeverAgreesByALostCall(t *testing.T) {
	t.Parallel()
	c := begun(t, 2)
	for shard := range c.w.Shards {
		c.add(shard, 700)
		entries := c.waiting(shard)
		p := c.plan(shard, entries)
		for i, fault := range []string{"lost", "doubled", "payload", "misdirected"} {
			c.do(fault, p, shard, entries, 100*(i+1))
		}
		c.send(p, shard, entries)
	}
	looks := func(r *consistency.Report) error {
		if r.Verdict == consistency.Agree {
			return errors.New("the audit agrees")
		}
		if r.Verdict == consistency.Drift {
			c.compare(r)
		} else if len(r.Findings) > 0 || len(r.Incomplete) == 0 {
			return fmt.Errorf("%s: %v %v", r.Verdict, r.Findings, r.Incomplete)
		}
		return nil
	}
	cfg := c.config()
	cfg.Full, cfg.Settle = true, 20*time.Millisecond
	o := integration.Servers(t).Redis.Options()
	for _, mode := range []integration.FaultMode{integration.RequestLost, integration.ReplyLost} {
		faults := integration.RedisFaults("XINFO", "XRANGE", "HGETALL")
		n, err := faults.EachCall(mode, 100, func(int) error {
			client := redis.NewClient(&redis.Options{
				Addr: o.Addr, DB: o.DB, Dialer: faults.Dial,
				MaxRetries: -1,
			})
			defer client.Close()
			broken := cfg
			broken.Redis = client
			return looks(audit(t, broken))
		})
		if err != nil || n < 8 {
			t.Errorf("Redis: %v of %d calls: %v", mode, n, err)
		}
	}
	// The client of Kafka tries again by itself: each run has to come to its end.
	faults := integration.KafkaFaults(kmsg.Metadata, kmsg.ListOffsets, kmsg.Fetch,
		kmsg.DescribeConfigs)
	n, err := faults.EachCall(integration.ReplyLost, 200, func(int) error {
		broken := cfg
		broken.Kafka = append(c.w.KafkaDirect(), kgo.Dialer(faults.Dial))
		return looks(audit(t, broken))
	})
	if err != nil || n < 10 {
		t.Errorf("Kafka: %d calls: %v", n, err)
	}
}

// repairable is an outbox with one lost entry, and the plan to send it again.
func repairable(t *testing.T, c *carrier) *consistency.Plan {
	t.Helper()
	c.add(0, 20)
	entries := c.waiting(0)
	p := c.plan(0, entries)
	p.records[10] = nil
	c.send(p, 0, entries)
	cfg := c.config()
	cfg.Settle = 20 * time.Millisecond
	if r := audit(t, cfg); r.Counts[consistency.Lost] != 1 || len(r.Findings) != 1 {
		t.Fatalf("%v %v", r.Findings, r.Incomplete)
	}
	a, err := consistency.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := a.Plan(deadline(t, time.Minute))
	if err != nil || len(plan.Send) != 1 {
		t.Fatalf("%+v %v", plan, err)
	}
	return plan
}

// repairedOnce wants the next audit to accept one record that was sent again.
func repairedOnce(t *testing.T, c *carrier) {
	t.Helper()
	stable(t, c.w)
	cfg := c.config()
	cfg.Settle = 20 * time.Millisecond
	if r := audit(t, cfg); r.Verdict != consistency.Agree || r.Repaired != 1 || len(r.Findings) > 0 {
		t.Errorf("%s: %d repaired: %v %v", r.Verdict, r.Repaired, r.Findings, r.Incomplete)
	}
}

// TestRepairSendsOnceWhateverIsLost loses each call of a repair's transaction. The repair is then
// done again, and either does what is left to do or finds the plan done.
func TestRepairSendsOnceWhateverIsLost(t *testing.T) {
	t.Parallel()
	c := begun(t, 1)
	for _, mode := range []integration.FaultMode{integration.RequestLost, integration.ReplyLost} {
		faults := integration.KafkaFaults(kmsg.InitProducerID, kmsg.AddPartitionsToTxn, kmsg.Produce,
			kmsg.EndTxn)
		n, err := faults.EachCall(mode, 20, func(int) error {
			plan := repairable(t, c)
			broken := c.config()
			broken.Kafka = append(c.w.KafkaDirect(), kgo.Dialer(faults.Dial))
			a, err := consistency.New(broken)
			if err != nil {
				return err
			}
			sent, err := a.Repair(deadline(t, time.Minute), plan)
			t.Logf("sent %d: %v", sent, err)
			if err != nil {
				return again(t, c, plan)
			}
			repairedOnce(t, c)
			return nil
		})
		if err != nil || n < 3 {
			t.Errorf("%v of %d calls: %v", mode, n, err)
		}
	}
}

// again repairs without faults what was begun before.
func again(t *testing.T, c *carrier, plan *consistency.Plan) error {
	t.Helper()
	a, err := consistency.New(c.config())
	if err != nil {
		return err
	}
	if _, err := a.Repair(deadline(t, time.Minute), plan); err != nil &&
		!errors.Is(err, consistency.ErrPlanStale) {
		return err
	}
	repairedOnce(t, c)
	return nil
}

// TestRepairKilled kills sluice repair at random moments, some of them while it waits for a
// transaction of somebody else, and repairs again.
func TestRepairKilled(t *testing.T) {
	t.Parallel()
	c := begun(t, 1)
	random := integration.Seed(t)
	file := c.w.ConfigFile("repairer", testenv.Settings{})
	killed := 0
	for turn := range 6 {
		plan := repairable(t, c)
		text, err := json.Marshal(plan)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(t.TempDir(), "plan.json")
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		var holder *kgo.Client
		if turn%2 == 0 { // the repair has to wait for its end
			holder = c.hold(turn)
		}
		cmd := exec.Command(integration.BuildSluice(t), "repair", "--yes", "-c", file, name)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// it may have ended
		kill := time.AfterFunc(time.Duration(random.IntN(600))*time.Millisecond, func() {
			_ = cmd.Process.Kill()
		})
		if err := cmd.Wait(); err != nil {
			killed++
		}
		kill.Stop()
		if holder != nil {
			if err := holder.EndTransaction(deadline(t, time.Minute), kgo.TryAbort); err != nil {
				t.Fatal(err)
			}
		}
		if err := again(t, c, plan); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d of 6 repairs were killed", killed)
}

// hold opens a transaction of somebody else in the topic.
func (c *carrier) hold(turn int) *kgo.Client {
	c.t.Helper()
	holder, err := kgo.NewClient(append(c.w.KafkaDirect(),
		kgo.TransactionalID(fmt.Sprint(c.w.Outbox, "-holder-", turn)),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(holder.Close)
	if err := holder.BeginTransaction(); err != nil {
		c.t.Fatal(err)
	}
	if err := holder.ProduceSync(deadline(c.t, time.Minute),
		&kgo.Record{Topic: c.w.Topic(), Value: []byte("x")}).FirstErr(); err != nil {
		c.t.Fatal(err)
	}
	return holder
}

// stable waits until what was committed can be seen.
func stable(t *testing.T, w *testenv.Env) {
	t.Helper()
	if err := integration.AwaitStable(deadline(t, time.Minute), w.KafkaDirect(),
		w.Topic()); err != nil {
		t.Fatal(err)
	}
}
