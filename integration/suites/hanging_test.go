//go:build integration

package suites_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// leftOpen is a transaction of four entries, two in each of two partitions, as a broker with
// KAFKA-20734 may leave it behind.
type leftOpen struct {
	id        byte // a or b
	committed bool // what its coordinator has decided
	// Where no marker was written.
	position, first, second bool
	// The owner died before it had sent the second partition's records, or the position.
	incomplete, noPosition bool
	// next: the other id's next transaction was committed after it.
	next bool
}

func (x leftOpen) String() string {
	var s []string
	for _, part := range []struct {
		is   bool
		text string
	}{{x.committed, "committed"}, {!x.committed, "aborted"}, {
		x.incomplete,
		"incomplete",
	}, {x.noPosition, "without position"}, {x.next, "and one after it"}} {
		if part.is {
			s = append(s, part.text)
		}
	}
	open := []string{}
	for _, part := range []struct {
		is   bool
		text string
	}{{x.position, "position"}, {x.first, "first partition"}, {x.second, "second partition"}} {
		if part.is {
			open = append(open, part.text)
		}
	}
	return fmt.Sprintf("%c %s, open: %s", x.id, strings.Join(s, " "), strings.Join(open, ", "))
}

// leftOpenCases are all that can be left of one transaction, and of two.
func leftOpenCases() (cases []leftOpen) {
	for _, id := range []byte("ab") {
		for open := 1; open < 8; open++ {
			x := leftOpen{id: id, position: open&1 != 0, first: open&2 != 0, second: open&4 != 0}
			cases = append(cases, x)
			x.committed = true
			cases = append(cases, x)
			x.next = true
			cases = append(cases, x)
		}
		cases = append(cases,
			leftOpen{id: id, position: true, first: true, incomplete: true},
			leftOpen{id: id, position: true, incomplete: true},
			leftOpen{id: id, first: true, second: true, noPosition: true},
			leftOpen{id: id, second: true, noPosition: true},
		)
	}
	return cases
}

// TestTransactionsLeftOpenByTheBroker: whatever a coordinator has left open of a shard's last
// transaction, the next owner ends it as it should have ended, and every event is delivered once.
// The transactions are written as a relay writes them, without the coordinator's knowledge, which
// is how they stay open.
func TestTransactionsLeftOpenByTheBroker(t *testing.T) {
	t.Parallel()
	ctx := deadline(t, 5*time.Minute)
	k, err := servers.StartKafka(ctx,
		servers.KafkaOptions{Properties: map[string]string{
			"transaction.partition.verification.enable": "false",
		}})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, k)
	t.Logf("servers: %s, %s", integration.Servers(t).Redis.Version, k.Version)
	cases := leftOpenCases()
	w := testenv.New(t, testenv.Options{Shards: len(cases), Kafka: k.Addrs()})
	if _, err := kadm.NewClient(w.Kafka).CreateTopic(ctx, int32(2*len(cases)), 1, nil,
		w.Topic()); err != nil {
		t.Fatal(err)
	}
	cfg := w.Config()
	cfg.MaxInFlight = 256 << 20
	l := leaver{t: t, w: w}
	l.add(2)
	first := w.Run(cfg)
	w.AwaitCommitted(2 * time.Minute)
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	for shard, x := range cases {
		l.leave(ctx, shard, x)
	}
	l.add(2)
	second := w.Run(cfg)
	w.AwaitCommitted(2 * time.Minute)
	entries := w.Entries()
	records := w.Delivered()
	for shard, x := range cases {
		var e []testenv.Entry
		var r []testenv.Record
		for i := range entries {
			if entries[i].Shard == shard {
				e = append(e, entries[i])
			}
		}
		for i := range records {
			if records[i].Shard == shard {
				r = append(r, records[i])
			}
		}
		if err := testenv.Compare(e, r).ExactlyOnce(); err != nil {
			t.Errorf("shard %d (%v): %v", shard, x, err)
		}
	}
	t.Logf("%d transactions left open in %d partitions: %d entries, %d records", len(cases),
		strings.Count(second.Log(), "had left a transaction of this shard open"), len(entries),
		len(records))
}

// leaver writes entries whose keys belong to two partitions of their shard's own.
type leaver struct {
	t *testing.T
	w *testenv.Env
}

// key is a key of one of the two partitions of a shard.
func (l leaver) key(shard, partition int) string {
	for n := 0; ; n++ {
		key := fmt.Sprintf("s%d-%d", shard, n)
		if outbox.Partition([]byte(key), 2*l.w.Shards) == 2*shard+partition {
			return key
		}
	}
}

// add appends entries to both partitions of every shard.
func (l leaver) add(n int) {
	for shard := range l.w.Shards {
		for range n {
			for partition := range 2 {
				l.entry(shard, partition)
			}
		}
	}
}

// entry appends an entry and gives its record.
func (l leaver) entry(shard, partition int) kmsg.Record {
	key := l.key(shard, partition)
	fields := append(l.w.Fields("payload"), outbox.FieldKey, key)
	id := l.w.AddFields(shard, "*", fields...)
	return kmsg.Record{Key: []byte(key), Value: []byte("payload"), Headers: []kmsg.Header{
		{Key: "id", Value: []byte(fields[1].(string))},
		{Key: "type", Value: []byte("OrderPlaced")},
		{Key: "sluice-entry", Value: fmt.Appendf(nil, "%s/%d/%s", l.w.Outbox, shard, id)},
	}}
}

// leave writes what x says, as a lane that has claimed the shard would.
func (l leaver) leave(ctx context.Context, shard int, x leftOpen) {
	l.t.Helper()
	lane := fmt.Sprintf("left-%d", shard)
	ids := map[byte]*rawProducer{
		'a': newRawProducer(ctx, l.t, l.w, lane, 'a'),
		'b': newRawProducer(ctx, l.t, l.w, lane, 'b'),
	}
	ids[x.id].write(names.PositionsTopic(l.w.Outbox), int32(shard), false, true, kmsg.Record{
		Key:   fmt.Appendf(nil, "%s/%d/%s", l.w.Outbox, shard, lane),
		Value: []byte(`{"v":2,"relay":"a test","at":0}`),
	})
	l.transaction(ctx, ids[x.id], lane, shard, x)
	if x.next {
		l.transaction(ctx, ids['a'+'b'-x.id], lane, shard, leftOpen{committed: true})
	}
}

func (l leaver) transaction(ctx context.Context, p *rawProducer, lane string, shard int,
	x leftOpen,
) {
	l.t.Helper()
	batches := [2][]kmsg.Record{}
	for partition := range 2 {
		for range 2 {
			batches[partition] = append(batches[partition], l.entry(shard, partition))
		}
	}
	info, err := l.w.Redis.XInfoStream(ctx, l.w.Stream(shard)).Result()
	if err != nil {
		l.t.Fatal(err)
	}
	last, err := outbox.ParseEntryID(info.LastGeneratedID)
	if err != nil {
		l.t.Fatal(err)
	}
	pos, err := relay.PositionAfter(ctx, l.w.Redis, l.w.Outbox, shard, last)
	if err != nil {
		l.t.Fatal(err)
	}
	value, err := json.Marshal(map[string]any{
		"v": 2, "lane": lane, "records": 4,
		"wrote": map[string][]int{l.w.Topic(): {2 * shard, 2*shard + 1}}, "position": pos,
	})
	if err != nil {
		l.t.Fatal(err)
	}
	p.write(l.w.Topic(), int32(2*shard), x.first, x.committed, batches[0]...)
	if !x.incomplete {
		p.write(l.w.Topic(), int32(2*shard+1), x.second, x.committed, batches[1]...)
	}
	if !x.noPosition {
		p.write(names.PositionsTopic(l.w.Outbox), int32(shard), x.position, x.committed,
			kmsg.Record{Key: fmt.Appendf(nil, "%s/%d", l.w.Outbox, shard), Value: value})
	}
}
