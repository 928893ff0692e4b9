//go:build integration

package suites_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// carrier does what a relay does, and does it wrong where it is told to. It shares nothing with the
// relay.
type carrier struct {
	t        *testing.T
	w        *testenv.Env
	producer *kgo.Client
	stray    string
	planted  map[string]bool
	kinds    map[string]int
	added    int
	nevers   uint64   // each has an ID of its own
	last     []string // the last entry of each shard that was carried
}

func newCarrier(t *testing.T, w *testenv.Env) *carrier {
	t.Helper()
	ctx := deadline(t, time.Minute)
	c := &carrier{
		t: t, w: w, stray: w.Topic() + ".stray", planted: map[string]bool{},
		kinds: map[string]int{}, last: slices.Repeat([]string{"0"}, w.Shards),
	}
	for _, name := range []string{w.Topic(), c.stray} {
		if _, err := kadm.NewClient(w.Kafka).CreateTopic(ctx, int32(w.Shards), 1, nil, name); err != nil {
			t.Fatal(err)
		}
	}
	c.connect()
	t.Cleanup(func() { discard(t, w) })
	return c
}

// connect gives the carrier a new producer, which knows nothing of a topic that was made again.
func (c *carrier) connect() {
	c.t.Helper()
	var err error
	c.producer, err = kgo.NewClient(
		append(c.w.KafkaDirect(), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(c.producer.Close)
}

// add appends n entries to a shard, of fifty keys that take turns, with headers and a content type.
func (c *carrier) add(shard, n int) {
	c.t.Helper()
	ctx := deadline(c.t, time.Minute)
	for n > 0 {
		pipe := c.w.Redis.Pipeline()
		for range min(n, 1000) {
			c.added++
			pipe.Do(ctx, "XADD", c.w.Stream(shard), "*", outbox.FieldID, "c-"+strconv.Itoa(c.added),
				outbox.FieldAggregateType, "order",
				outbox.FieldAggregateID, "k"+strconv.Itoa(c.added%50), outbox.FieldType, "OrderPlaced",
				outbox.FieldPayload, "payload",
				outbox.FieldHeaders, `{"tenant":"a","trace":"b"}`, outbox.FieldContentType, "application/json")
		}
		if _, err := pipe.Exec(ctx); err != nil {
			c.t.Fatalf("XADD: %v", err)
		}
		n -= min(n, 1000)
	}
}

// entries reads a shard after an entry, "0" for the whole.
func (c *carrier) entries(shard int, after string) []redis.XMessage {
	c.t.Helper()
	var all []redis.XMessage
	for {
		got, err := c.w.Redis.XRangeN(deadline(c.t, time.Minute), c.w.Stream(shard), "("+after, "+",
			5000).Result()
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

// waiting are the entries of a shard that were not carried yet.
func (c *carrier) waiting(shard int) []redis.XMessage { return c.entries(shard, c.last[shard]) }

func (c *carrier) record(shard int, m redis.XMessage) *kgo.Record {
	text := func(field string) []byte { return []byte(m.Values[field].(string)) }
	key := text(outbox.FieldAggregateID)
	r := &kgo.Record{
		Topic: c.w.Topic(), Partition: int32(outbox.Partition(key, c.w.Shards)), Key: key,
		Value: text(outbox.FieldPayload),
		Headers: []kgo.RecordHeader{
			{Key: "id", Value: text(outbox.FieldID)},
			{Key: "type", Value: text(outbox.FieldType)},
		},
	}
	if _, ok := m.Values[outbox.FieldContentType]; ok {
		r.Headers = append(r.Headers, kgo.RecordHeader{
			Key:   "content-type",
			Value: text(outbox.FieldContentType),
		},
			kgo.RecordHeader{Key: "tenant", Value: []byte("a")}, kgo.RecordHeader{
				Key:   "trace",
				Value: []byte("b"),
			})
	}
	r.Headers = append(r.Headers, kgo.RecordHeader{
		Key:   "sluice-entry",
		Value: []byte(fmt.Sprintf("%s/%d/%s", c.w.Outbox, shard, m.ID)),
	})
	return r
}

func (c *carrier) plant(k consistency.Kind, shard int, entry string) {
	c.planted[fmt.Sprint(k, " shard ", shard, " entry ", entry)] = true
}

// plan is what becomes of entries: the records of each, and those that come after all.
type plan struct {
	records [][]*kgo.Record
	tail    []*kgo.Record
}

func (c *carrier) plan(shard int, entries []redis.XMessage) *plan {
	p := &plan{records: make([][]*kgo.Record, len(entries))}
	for i, m := range entries {
		p.records[i] = []*kgo.Record{c.record(shard, m)}
	}
	return p
}

// faults are what a carrier can do wrong with an entry. Those that need another one take it from
// further on, so that it is their own key's.
var faults = []string{
	"lost", "doubled", "doubled later", "doubled elsewhere", "swapped", "payload", "null payload",
	"key", "id", "type", "content type", "no content type",
	"header", "no header", "more headers", "order of headers", "partition", "misdirected", "orphaned",
	"dead letter",
}

// do makes an entry go wrong. alone: the next entry of its key is not to be touched.
func (c *carrier) do(fault string, p *plan, shard int, entries []redis.XMessage, i int) {
	c.t.Helper()
	m, r := entries[i], p.records[i][0]
	c.kinds[fault]++
	kind := consistency.Altered
	switch fault {
	case "lost":
		kind, p.records[i] = consistency.Lost, nil
	case "doubled":
		kind, p.records[i] = consistency.Duplicated, append(p.records[i], c.record(shard, m))
	case "doubled later":
		kind, p.tail = consistency.Duplicated, append(p.tail, c.record(shard, m))
	case "doubled elsewhere":
		kind = consistency.Duplicated
		again := c.record(shard, m)
		again.Topic = c.stray
		p.records[i] = append(p.records[i], again)
	case "swapped": // fifty keys take turns: with the next record of its key
		kind = consistency.Reordered
		p.records[i], p.records[i+50] = p.records[i+50], p.records[i]
	case "payload":
		r.Value = append([]byte("x"), r.Value...)
	case "null payload":
		r.Value = nil
	case "key":
		r.Key = append(r.Key, 'x')
	case "id":
		r.Headers[0].Value = []byte("another")
	case "type":
		r.Headers[1].Value = []byte("OrderCancelled")
	case "content type":
		r.Headers[2].Value = []byte("text/plain")
	case "no content type":
		r.Headers = slices.Delete(r.Headers, 2, 3)
	case "header":
		r.Headers[3].Value = []byte("other")
	case "no header":
		r.Headers = slices.Delete(r.Headers, 4, 5)
	case "more headers":
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: "more", Value: []byte("x")})
	case "order of headers":
		r.Headers[3], r.Headers[4] = r.Headers[4], r.Headers[3]
	case "partition":
		r.Partition = (r.Partition + 1) % int32(c.w.Shards)
	case "misdirected":
		kind, r.Topic = consistency.Misdirected, c.stray
	case "orphaned":
		// The last one of its millisecond, or the ID could be above the stream's last one.
		before := i
		for before > 0 && millisecond(entries[before].ID) == millisecond(entries[before+1].ID) {
			before--
		}
		never := c.never(entries[before])
		c.plant(consistency.Orphaned, shard, never.ID)
		p.records[i] = append(p.records[i], c.record(shard, never))
		return
	case "dead letter": // delivered there: no finding
		ref := fmt.Sprintf("%s/%d/%s", c.w.Outbox, shard, m.ID)
		p.records[i] = []*kgo.Record{{
			Topic: names.DeadLetterTopic(c.w.Outbox), Key: []byte(ref),
			Value: []byte("*0\r\n"),
		}}
		return
	default:
		c.t.Fatalf("no fault %q", fault)
	}
	c.plant(kind, shard, m.ID)
}

func millisecond(id string) string {
	ms, _, _ := strings.Cut(id, "-")
	return ms
}

// never is an entry after m that nobody has written, with a key of its own.
func (c *carrier) never(m redis.XMessage) redis.XMessage {
	c.t.Helper()
	var ms, seq uint64
	if _, err := fmt.Sscanf(m.ID, "%d-%d", &ms, &seq); err != nil {
		c.t.Fatal(err)
	}
	c.nevers++
	never := redis.XMessage{
		ID:     fmt.Sprintf("%d-%d", ms, seq+1_000_000+c.nevers),
		Values: map[string]any{},
	}
	for k, v := range m.Values {
		never.Values[k] = v
	}
	never.Values[outbox.FieldAggregateID] = "never"
	return never
}

// send delivers a plan, and then the position after its entries, as a relay's transaction would.
func (c *carrier) send(p *plan, shard int, entries []redis.XMessage) {
	c.t.Helper()
	for _, group := range append(p.records, p.tail) {
		c.produce(group...)
	}
	c.flush()
	if len(entries) == 0 {
		return
	}
	c.last[shard] = entries[len(entries)-1].ID
	c.produce(&kgo.Record{
		Topic: names.PositionsTopic(c.w.Outbox), Partition: int32(shard),
		Key: []byte(c.w.Outbox + "/" + strconv.Itoa(shard)),
		Value: []byte(fmt.Sprintf(
			`{"v":2,"lane":"carrier","position":{"delivery":"exactly-once","entry":%q}}`, c.last[shard])),
	})
	c.flush()
}

func (c *carrier) produce(records ...*kgo.Record) {
	for _, r := range records {
		c.producer.Produce(context.Background(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				c.t.Errorf("produce: %v", err)
			}
		})
	}
}

func (c *carrier) flush() {
	c.t.Helper()
	if err := c.producer.Flush(deadline(c.t, time.Minute)); err != nil {
		c.t.Fatal(err)
	}
}

// carry delivers entries as they are.
func (c *carrier) carry(shard int, entries []redis.XMessage) {
	c.t.Helper()
	c.send(c.plan(shard, entries), shard, entries)
}

// delivered fails until relays have delivered what was read last of a shard.
func (c *carrier) delivered(ctx context.Context, shard int) error {
	positions, err := relay.ReadPositions(ctx, c.w.KafkaDirect(), c.w.Outbox, c.w.Shards)
	if err != nil {
		return err
	}
	last, err := outbox.ParseEntryID(c.last[shard])
	if err == nil && positions[shard].Entry.Compare(last) < 0 {
		err = fmt.Errorf("shard %d is delivered up to %s, not yet to %s", shard, positions[shard].Entry,
			last)
	}
	return err
}

// apart gives n places in [0, size), none within 120 of another or of the end, so that no fault
// touches what another one does.
func apart(random *rand.Rand, n, size int) []int {
	places := make([]int, 0, n)
	slot := size / n
	for i := range n {
		places = append(places, i*slot+random.IntN(max(1, slot-120)))
	}
	return places
}

func (c *carrier) config() consistency.Config {
	cfg := auditConfig(c.w)
	cfg.Watch = []string{c.w.Topic() + "*"}
	return cfg
}

// compare holds what audits have found against what was planted: all of it, once, and nothing else.
func (c *carrier) compare(reports ...*consistency.Report) {
	c.t.Helper()
	got := map[string]bool{}
	for _, r := range reports {
		for _, f := range r.Findings {
			name := fmt.Sprint(f.Kind, " shard ", f.Shard, " entry ", f.Entry)
			if f.Kind == consistency.Late {
				continue
			}
			if got[name] {
				c.t.Errorf("reported twice: %s", name)
			}
			got[name] = true
			if !c.planted[name] {
				c.t.Errorf("audit %d: not planted: %s at %s/%d/%d: %s", r.Run, name, f.Topic, f.Partition,
					f.Offset, f.Detail)
			}
		}
	}
	for name := range c.planted {
		if !got[name] {
			c.t.Errorf("not found: %s", name)
		}
	}
	c.t.Logf("%d planted, %d found: %v", len(c.planted), len(got), c.kinds)
}
