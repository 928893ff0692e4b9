//go:build integration

package suites_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/world"
	"github.com/sluice-outbox/sluice/outbox"
)

// carrier does what a relay does, and does it wrong where it is told to. It shares nothing with the relay.
type carrier struct {
	t        *testing.T
	w        *world.World
	producer *kgo.Client
	stray    string
	planted  map[string]bool
}

func newCarrier(t *testing.T, w *world.World) *carrier {
	t.Helper()
	ctx := deadline(t, time.Minute)
	c := &carrier{t: t, w: w, stray: w.Topic() + ".stray", planted: map[string]bool{}}
	for _, name := range []string{w.Topic(), c.stray} {
		if _, err := kadm.NewClient(w.Kafka).CreateTopic(ctx, int32(w.Shards), 1, nil, name); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	c.producer, err = kgo.NewClient(append(w.KafkaDirect(), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.producer.Close)
	return c
}

// entries reads a shard behind an entry, "0" for the whole.
func (c *carrier) entries(shard int, after string) []redis.XMessage {
	c.t.Helper()
	var all []redis.XMessage
	for {
		got, err := c.w.Redis.XRangeN(deadline(c.t, time.Minute), c.w.Stream(shard), "("+after, "+", 5000).Result()
		if err != nil {
			c.t.Fatal(err)
		}
		if len(got) == 0 {
			return all
		}
		all = append(all, got...)
		after = got[len(got)-1].ID
	}
}

func (c *carrier) record(shard int, m redis.XMessage) *kgo.Record {
	key := m.Values[outbox.FieldAggregateID].(string)
	return &kgo.Record{
		Topic: c.w.Topic(), Partition: int32(outbox.Partition([]byte(key), c.w.Shards)), Key: []byte(key), Value: []byte(m.Values[outbox.FieldPayload].(string)),
		Headers: []kgo.RecordHeader{
			{Key: "id", Value: []byte(m.Values[outbox.FieldID].(string))},
			{Key: "type", Value: []byte(m.Values[outbox.FieldType].(string))},
			{Key: "sluice-entry", Value: []byte(fmt.Sprintf("%s/%d/%s", c.w.Outbox, shard, m.ID))},
		},
	}
}

func (c *carrier) plant(k consistency.Kind, shard int, entry string) {
	c.planted[fmt.Sprint(k, " shard ", shard, " entry ", entry)] = true
}

// carry delivers entries, one in step of which goes wrong.
func (c *carrier) carry(shard int, entries []redis.XMessage, step int, random *rand.Rand) {
	c.t.Helper()
	records := make([][]*kgo.Record, len(entries))
	var tail []*kgo.Record
	for i, m := range entries {
		records[i] = append(records[i], c.record(shard, m))
	}
	for first := 0; step > 0 && first+step < len(entries); first += step {
		i := first + random.IntN(step-51)
		m, r := entries[i], records[i][0]
		switch random.IntN(10) {
		case 0:
			c.plant(consistency.Lost, shard, m.ID)
			records[i] = nil
		case 1:
			c.plant(consistency.Duplicated, shard, m.ID)
			records[i] = append(records[i], c.record(shard, m))
		case 2:
			c.plant(consistency.Duplicated, shard, m.ID)
			tail = append(tail, c.record(shard, m))
		case 3: // fifty keys take turns: with the next record of its key
			c.plant(consistency.Reordered, shard, m.ID)
			records[i], records[i+50] = records[i+50], records[i]
		case 4:
			c.plant(consistency.Altered, shard, m.ID)
			r.Value = append([]byte("x"), r.Value...)
		case 5:
			c.plant(consistency.Altered, shard, m.ID)
			r.Headers[1].Value = []byte("OrderCancelled")
		case 6:
			c.plant(consistency.Altered, shard, m.ID)
			r.Partition = (r.Partition + 1) % int32(c.w.Shards)
		case 7:
			c.plant(consistency.Misdirected, shard, m.ID)
			r.Topic = c.stray
		case 8:
			var ms, seq uint64
			if _, err := fmt.Sscanf(m.ID, "%d-%d", &ms, &seq); err != nil {
				c.t.Fatal(err)
			}
			never := redis.XMessage{ID: fmt.Sprintf("%d-%d", ms, seq+1_000_000), Values: map[string]any{}}
			for k, v := range m.Values {
				never.Values[k] = v
			}
			never.Values[outbox.FieldAggregateID] = "never"
			c.plant(consistency.Orphaned, shard, never.ID)
			records[i] = append(records[i], c.record(shard, never))
		case 9: // dead-lettered: delivered there, no finding
			ref := fmt.Sprintf("%s/%d/%s", c.w.Outbox, shard, m.ID)
			records[i] = []*kgo.Record{{Topic: outbox.DeadLetterTopic(c.w.Outbox), Key: []byte(ref), Value: []byte("*0\r\n")}}
		}
	}
	for _, group := range append(records, tail) {
		for _, r := range group {
			c.producer.Produce(context.Background(), r, func(_ *kgo.Record, err error) {
				if err != nil {
					c.t.Errorf("produce: %v", err)
				}
			})
		}
	}
	if err := c.producer.Flush(deadline(c.t, time.Minute)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *carrier) config() consistency.Config {
	cfg := auditConfig(c.w)
	cfg.Watch = []string{c.w.Topic() + "*"}
	return cfg
}

// compare holds what an audit has found against what was planted.
func (c *carrier) compare(r *consistency.Report) {
	c.t.Helper()
	got := map[string]bool{}
	for _, f := range r.Findings {
		name := fmt.Sprint(f.Kind, " shard ", f.Shard, " entry ", f.Entry)
		if got[name] {
			c.t.Errorf("reported twice: %s", name)
		}
		got[name] = true
		if !c.planted[name] {
			c.t.Errorf("not planted: %s at %s/%d/%d: %s", name, f.Topic, f.Partition, f.Offset, f.Detail)
		}
	}
	for name := range c.planted {
		if !got[name] {
			c.t.Errorf("not found: %s", name)
		}
	}
}

// TestAuditFindsWhatIsPlanted: a hundred faults among 200,000 events, each found with its kind and its entry, nothing else, once.
func TestAuditFindsWhatIsPlanted(t *testing.T) {
	w := shared(t, 4)
	random := integration.Seed(t)
	c := newCarrier(t, w)
	for shard := range w.Shards {
		w.Add(shard, 100, "payload")
		c.carry(shard, c.entries(shard, "0"), 0, random)
	}
	if r := audit(t, c.config()); r.Verdict != consistency.Agree {
		t.Fatalf("before anything was planted: %v %v", r.Findings, r.Incomplete)
	}
	n := max(2000, scaled(t, 200_000)/w.Shards)
	for shard := range w.Shards {
		last := c.entries(shard, "0")
		w.Add(shard, n, "payload")
		c.carry(shard, c.entries(shard, last[len(last)-1].ID), max(120, n/26), random)
	}
	r := audit(t, c.config())
	c.compare(r)
	if r.Verdict != consistency.Drift {
		t.Errorf("verdict %s", r.Verdict)
	}
	t.Logf("%d planted, %d found", len(c.planted), len(r.Findings))
	if again := audit(t, c.config()); again.Verdict != consistency.Agree || len(again.Findings) > 0 {
		t.Errorf("reported again: %v", again.Findings)
	}
	full := c.config()
	full.Full = true
	c.compare(audit(t, full))
}

// TestAuditCountsWhatWasDeleted: entries that were deleted by hand are found by Redis's count of additions, with their records or without.
func TestAuditCountsWhatWasDeleted(t *testing.T) {
	w := shared(t, 1)
	c := newCarrier(t, w)
	random := integration.Seed(t)
	w.Add(0, 100, "payload")
	c.carry(0, c.entries(0, "0"), 0, random)
	if r := audit(t, c.config()); r.Verdict != consistency.Agree {
		t.Fatalf("%v %v", r.Findings, r.Incomplete)
	}
	begun := c.entries(0, "0")
	w.Add(0, 1000, "payload")
	entries := c.entries(0, begun[len(begun)-1].ID)
	// Delivered and deleted: 3; deleted before delivery: 4, beside others that stay.
	c.carry(0, append(entries[:500:500], entries[504:]...), 0, random)
	for _, i := range []int{10, 20, 30, 500, 501, 502, 503} {
		if err := w.Redis.XDel(deadline(t, time.Minute), w.Stream(0), entries[i].ID).Err(); err != nil {
			t.Fatal(err)
		}
	}
	r := audit(t, c.config())
	if r.Verdict != consistency.Drift || r.Counts[consistency.Lost] != 4 || r.Counts[consistency.Unverifiable] != 3 || r.Counts[consistency.Orphaned] != 0 {
		t.Fatalf("%s: %v %v", r.Verdict, r.Counts, r.Findings)
	}
}
