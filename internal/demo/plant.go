package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/consistency/report"
	"github.com/sluice-outbox/sluice/internal/terminal"
	"github.com/sluice-outbox/sluice/outbox"
)

// Planted is a fault that was made on purpose, and what the audit said.
type Planted struct {
	Kind  consistency.Kind `json:"kind"`
	Shard int              `json:"shard"`
	Entry outbox.EntryID   `json:"entry"`
	// What was done.
	What string `json:"what"`
	// Found: the audit has reported this, with its kind, shard and entry, and nothing else.
	Found  bool                `json:"found"`
	Report *consistency.Report `json:"report"`
}

// strayTopic is on no route of the shop's events, and begins as the route does.
const strayTopic = "outbox.event.refund"

// ordersForPlant are written for each shard, so that the fault is among others.
const ordersForPlant = 8

// plant stops the relays, lets the shop go on, and carries its events itself, as a relay does but
// for one fault. Then it audits.
func (d *demo) plant(ctx context.Context, w *world, writer *outbox.Writer) (*Planted, error) {
	d.fleet.end()
	c, err := newCarrier(ctx, w, d.Shards)
	if err != nil {
		return nil, err
	}
	defer c.producer.Close()
	if err := d.writeMore(ctx, writer); err != nil {
		return nil, err
	}
	if err := c.read(ctx); err != nil {
		return nil, err
	}
	p := &Planted{Kind: d.Plant}
	victim := c.choose(d.Plant)
	p.Shard, p.What = c.shard, faults[d.Plant].what
	if p.Entry, err = outbox.ParseEntryID(c.entries[c.shard][victim].ID); err != nil {
		return nil, err
	}
	if err := c.carry(ctx, d.audits, d.Plant, victim); err != nil {
		return nil, err
	}
	if p.Report, err = d.audits.run(ctx); err != nil {
		return nil, err
	}
	if found := p.Report.Findings; len(found) == 1 {
		p.Found = found[0].Kind == p.Kind && found[0].Shard == p.Shard && found[0].Entry == p.Entry
	}
	return p, c.failed
}

// writeMore moves some new orders through all their steps, each a step at a time.
func (d *demo) writeMore(ctx context.Context, writer *outbox.Writer) error {
	rng := rand.New(rand.NewPCG(d.Seed, clerks))
	first := d.ledger.order()
	for step := uint8(1); step <= steps; step++ {
		for i := range ordersForPlant * d.Shards {
			if err := writeStep(ctx, writer, event{first + i, step}, rng); err != nil {
				return fmt.Errorf("shop: %w", err)
			}
		}
	}
	return nil
}

// carrier carries entries from Redis to Kafka as somebody could who does not use Sluice.
type carrier struct {
	world    *world
	producer *kgo.Client
	after    []string           // by shard: the last entry that the relays have carried
	entries  [][]redis.XMessage // by shard: those after it
	shard    int                // where the fault is: the one with the most entries
	failed   error              // of what is sent while an audit runs
}

func newCarrier(ctx context.Context, w *world, shards int) (*carrier, error) {
	c := &carrier{world: w, after: make([]string, shards), entries: make([][]redis.XMessage, shards)}
	for shard := range shards {
		info, err := w.redis.XInfoStream(ctx, outbox.StreamKey(outboxName, shard)).Result()
		if err != nil {
			return nil, fmt.Errorf("in-memory Redis: %w", err)
		}
		c.after[shard] = info.LastGeneratedID
	}
	created, err := kadm.NewClient(w.kafka).CreateTopics(ctx, int32(shards), 1, nil, strayTopic)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	if err := created[strayTopic].Err; err != nil {
		return nil, fmt.Errorf("kafka: topic %s: %w", strayTopic, err)
	}
	if c.producer, err = kgo.NewClient(w.brokers,
		kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return c, nil
}

func (c *carrier) read(ctx context.Context) (err error) {
	for shard := range c.entries {
		c.entries[shard], err = c.world.redis.XRange(ctx, outbox.StreamKey(outboxName, shard),
			"("+c.after[shard], "+").Result()
		if err != nil {
			return fmt.Errorf("in-memory Redis: %w", err)
		}
		if len(c.entries[shard]) > len(c.entries[c.shard]) {
			c.shard = shard
		}
	}
	return nil
}

func field(m *redis.XMessage, name string) string {
	text, _ := m.Values[name].(string)
	return text
}

// choose finds an entry in the middle of the shard on which a fault of this kind is this and
// nothing else.
func (c *carrier) choose(kind consistency.Kind) int {
	entries := c.entries[c.shard]
	at := len(entries) / 2
	if kind == consistency.Late {
		// The last one of its order: a record that comes after later ones of its key would be reordered
		// too.
		for at < len(entries)-2 && field(&entries[at], outbox.FieldType) != stepNames[steps-1] {
			at++
		}
	}
	return at
}

// record is what a relay makes of an entry.
func (c *carrier) record(shard int, m *redis.XMessage) *kgo.Record {
	key := []byte(field(m, outbox.FieldAggregateID))
	return &kgo.Record{
		Topic: topic, Partition: int32(outbox.Partition(key, len(c.entries))), Key: key,
		Value: []byte(field(m, outbox.FieldPayload)),
		Headers: []kgo.RecordHeader{
			{Key: "id", Value: []byte(field(m, outbox.FieldID))},
			{Key: "type", Value: []byte(field(m, outbox.FieldType))},
			{Key: "content-type", Value: []byte(field(m, outbox.FieldContentType))},
			{Key: "sluice-entry", Value: fmt.Appendf(nil, "%s/%d/%s", outboxName, shard, m.ID)},
		},
	}
}

func (c *carrier) send(ctx context.Context, records ...*kgo.Record) error {
	if err := c.producer.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	return nil
}

// carry sends the records of all entries, with the fault of one of them.
func (c *carrier) carry(ctx context.Context, a *audits, kind consistency.Kind, victim int) error {
	var records []*kgo.Record
	for shard := range c.entries {
		var lane []*kgo.Record
		for i := range c.entries[shard] {
			lane = append(lane, c.record(shard, &c.entries[shard][i]))
		}
		if shard == c.shard {
			lane = faults[kind].do(c, lane, victim)
		}
		records = append(records, lane...)
	}
	if err := c.send(ctx, records...); err != nil {
		return err
	}
	key, m := outbox.StreamKey(outboxName, c.shard), &c.entries[c.shard][victim]
	switch kind {
	case consistency.Orphaned:
		return c.world.counters.forget(ctx, c.world.redis, key, m.ID)
	case consistency.Unverifiable:
		return c.world.redis.XDel(ctx, key, m.ID).Err()
	case consistency.Late:
		a.onSecondLook(func() { c.failed = c.send(ctx, c.record(c.shard, m)) })
	}
	return nil
}

// fault is something that goes wrong.
type fault struct {
	what string
	// do changes what is sent of the shard; victim is the index of the entry that it is about.
	do func(c *carrier, lane []*kgo.Record, victim int) []*kgo.Record
}

var faults = map[consistency.Kind]fault{
	consistency.Lost: {"the carrier skipped the entry, as one does that moves its position before " +
		"the records are confirmed", leaveOut},
	consistency.Duplicated: {"the carrier sent the entry twice, as one does that repeats after a " +
		"time-out", func(_ *carrier, lane []*kgo.Record, victim int) []*kgo.Record {
		again := *lane[victim]
		return append(lane, &again)
	}},
	consistency.Reordered: {
		"the carrier sent the entry after a later one of the same order, as " +
			"one does that retries record by record",
		func(_ *carrier, lane []*kgo.Record, victim int) []*kgo.Record {
			for i := victim + 1; i < len(lane); i++ {
				if bytes.Equal(lane[i].Key, lane[victim].Key) {
					lane[i], lane[victim] = lane[victim], lane[i]
					break
				}
			}
			return lane
		},
	},
	consistency.Altered: {"the carrier changed the payload, as one does that reads it into a " +
		"structure and writes it again", func(_ *carrier, lane []*kgo.Record, victim int) []*kgo.Record {
		lane[victim].Value = bytes.Replace(lane[victim].Value, []byte(`"cents":`), []byte(`"cents": `), 1)
		return lane
	}},
	consistency.Misdirected: {
		"the carrier sent the entry to topic " + strayTopic +
			", as one does whose routes are mixed up",
		func(_ *carrier, lane []*kgo.Record, victim int) []*kgo.Record {
			lane[victim].Topic = strayTopic
			return lane
		},
	},
	consistency.Orphaned: {"the entry was delivered, and then Redis went back to a state " +
		"without it, as after a failover to a replica that lacked it", asIs},
	consistency.Unverifiable: {"the entry was delivered, and then deleted by hand before an audit " +
		"had seen it", asIs},
	consistency.Late: {
		"the carrier sent the entry only after the audit had missed it",
		leaveOut,
	},
}

func asIs(_ *carrier, lane []*kgo.Record, _ int) []*kgo.Record { return lane }

func leaveOut(_ *carrier, lane []*kgo.Record, victim int) []*kgo.Record {
	return append(lane[:victim:victim], lane[victim+1:]...)
}

// write says what was done, and what the audit said of it.
func (p *Planted) write(w io.Writer, paint terminal.Painter) {
	r := p.Report
	fmt.Fprintf(w, "\nPlanted: %s\n", paint.Paint(terminal.Bold, string(p.Kind)))
	fmt.Fprintf(w, "  entry         %s of shard %d\n", p.Entry, p.Shard)
	fmt.Fprintf(w, "  what          %s\n", p.What)
	fmt.Fprintf(w, "  audit %-7d %s: %s\n", r.Run, r.Verdict, report.Summary(r))
	for i := range r.Findings {
		f := &r.Findings[i]
		fmt.Fprintf(w, "  finding       %s\n", strings.Join(described(f), "\n                "))
	}
	for _, why := range r.Incomplete {
		fmt.Fprintf(w, "  not compared  %s\n", report.Printable(why))
	}
	if p.Found {
		fmt.Fprintf(w, "  what to do    %s\n\n%s\n", report.Advice(p.Kind),
			paint.Paint(terminal.Green, "The audit found what was planted, and nothing else."))
	} else {
		fmt.Fprintf(w, "\n%s\n", paint.Paint(terminal.Red,
			"The audit did NOT find what was planted, or found something else."))
	}
}

// described is a finding in some lines.
func described(f *consistency.Finding) []string {
	lines := []string{fmt.Sprintf("%s: shard %d, entry %s", f.Kind, f.Shard, report.Entries(f))}
	if f.ID != "" {
		lines = append(lines, "event "+report.Printable(f.ID))
	}
	if at := report.Place(f); at != "" {
		lines = append(lines, "at "+at)
	}
	return append(lines, report.Printable(f.Detail))
}
