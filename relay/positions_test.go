package relay

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/delivery"
	"github.com/sluice-outbox/sluice/internal/kafkalog"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

func TestReadPositions(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 3, func(t *testing.T, l *testEnv) {
		got, err := ReadPositions(t.Context(), l.opts, l.outbox, 3)
		if err != nil || len(got) != 0 {
			t.Fatalf("of a new outbox: %v, %v", got, err)
		}
		want := map[int]Position{
			0: {Entry: outbox.EntryID{MS: 5}, Count: 3, Fingerprint: "00000000000000ff"},
			2: {Delivery: DeliveryAtLeastOnce, Entry: outbox.EntryID{MS: 7, Seq: 1}, Count: 9, Missing: 1},
		}
		for shard, p := range want {
			for count := range uint64(3) { // the last one counts
				p.Count = count
				if err := SetPosition(t.Context(), l.opts, l.outbox, shard, p); err != nil {
					t.Fatal(err)
				}
			}
			if err := SetPosition(t.Context(), l.opts, l.outbox, shard, want[shard]); err != nil {
				t.Fatal(err)
			}
		}
		if got, err = ReadPositions(t.Context(), l.opts, l.outbox, 3); err != nil || len(got) != 2 {
			t.Fatalf("%v, %v", got, err)
		}
		for shard, p := range want {
			g := got[shard]
			if g.Delivery != p.Delivery || g.Entry != p.Entry || g.Count != p.Count ||
				g.Missing != p.Missing || g.Fingerprint != p.Fingerprint {
				t.Errorf("shard %d: got %+v, want %+v", shard, g, p)
			}
		}
	})
}

func (l *testEnv) lastPosition(t *testing.T, outboxName string, shard int) (Position, bool, error) {
	t.Helper()
	topic := names.PositionsTopic(outboxName)
	found, err := kafkalog.Leaders(t.Context(), l.kafka, topic)
	if err != nil {
		t.Fatal(err)
	}
	return lastPosition(t.Context(), l.kafka, found[topic], outboxName, shard)
}

// The end of the partition is whatever transactions have left there: markers, aborted records,
// other keys, and the position may be far before it.
func TestLastPositionBehindOtherThings(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		want := Position{Entry: outbox.EntryID{MS: 5}, Count: 3}
		if err := SetPosition(t.Context(), l.opts, l.outbox, 0, want); err != nil {
			t.Fatal(err)
		}
		check := func(when string) {
			t.Helper()
			got, _, err := l.lastPosition(t, l.outbox, 0)
			if err != nil || got.Entry != want.Entry || got.Count != want.Count {
				t.Errorf("%s: got %+v, %v", when, got, err)
			}
		}
		check("at the end")

		// An owner that died within its transaction: invisible while it is open, and when it was
		// aborted.
		dead, err := kgo.NewClient(append(l.opts,
			kgo.TransactionalID(names.LaneID(l.outbox, "dead", 'a')),
			kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
		if err != nil {
			t.Fatal(err)
		}
		defer dead.Close()
		if err := dead.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for i := range uint64(100) {
			position, err := json.Marshal(Position{Entry: outbox.EntryID{MS: 666, Seq: i}})
			if err != nil {
				t.Fatal(err)
			}
			value := fmt.Appendf(nil, `{"v":2,"lane":"dead","position":%s}`, position)
			dead.Produce(t.Context(), &kgo.Record{
				Topic: names.PositionsTopic(l.outbox),
				Key:   []byte(delivery.PositionKey(l.outbox, 0)), Value: value,
			}, nil)
		}
		if err := dead.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		check("with an open transaction after it")
		if err := dead.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
			t.Fatal(err)
		}
		check("with an aborted transaction after it")

		client, err := kgo.NewClient(append(l.opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		for i := range 200 {
			r := &kgo.Record{
				Topic: names.PositionsTopic(l.outbox), Key: fmt.Appendf(nil, "another/%d", i),
				Value: []byte("{}"),
			}
			if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		check("with 200 other keys after it")
		l.cluster.Compact()
		check("compacted")

		want.Count = 4
		if err := SetPosition(t.Context(), l.opts, l.outbox, 0, want); err != nil {
			t.Fatal(err)
		}
		check("replaced")
	})
}

func TestLastPositionUnreadable(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		if pos, ok, err := l.lastPosition(t, l.outbox, 0); ok || err != nil {
			t.Errorf("of an empty partition: %+v, %v", pos, err)
		}
		if _, ok, err := l.lastPosition(t, l.outbox, 1); ok || err == nil ||
			!strings.Contains(err.Error(), "1 partitions") {
			t.Errorf("of a shard without a partition: %v", err)
		}
		if _, ok, err := l.lastPosition(t, "nobody", 0); ok || err == nil ||
			!strings.Contains(err.Error(), "migrate apply") {
			t.Errorf("of an outbox without a topic: %v", err)
		}
		key := []byte(delivery.PositionKey(l.outbox, 0))
		for value, want := range map[string]string{
			"text": "invalid character",
			`{"v":9,"position":{"delivery":"exactly-once","entry":"5-0"}}`: "version 9",
			`{"v":1,"delivery":"exactly-once","entry":"5-0"}`:              "version 1",
		} {
			r := &kgo.Record{Topic: names.PositionsTopic(l.outbox), Key: key, Value: []byte(value)}
			if err := l.kafka.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
			if _, ok, err := l.lastPosition(t, l.outbox, 0); ok || err == nil ||
				!strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v", value, err)
			}
		}
		// A tombstone: somebody has deleted the position, which is as good as none.
		if err := l.kafka.ProduceSync(t.Context(),
			&kgo.Record{Topic: names.PositionsTopic(l.outbox), Key: key}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if pos, ok, err := l.lastPosition(t, l.outbox, 0); ok || err != nil {
			t.Errorf("of a deleted position: %+v, %v", pos, err)
		}
		l.cluster.Close()
		if _, err := ReadPositions(t.Context(), append(l.opts, kgo.RetryTimeout(1)), l.outbox,
			1); err == nil {
			t.Error("positions were read without a server")
		}
	})
}

// Whoever sets a position has fenced the owner, who starts over from it.
func TestSetPositionMovesTheOwner(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		l.addEvents(0, 0, 10)
		r, stop := l.run(l.config())
		defer stop()
		l.consume(10, "outbox.event.order")
		l.until(r, 0, StateRunning)
		if err := SetPosition(t.Context(), l.opts, l.outbox, 0, Position{}); err != nil {
			t.Fatal(err)
		}
		l.addEvents(0, 10, 1) // an idle owner learns it with its next transaction
		if got := l.consume(21, "outbox.event.order"); header(got[10], "id") != "e-0" ||
			header(got[20], "id") != "e-10" {
			t.Errorf("the records after the tenth begin with %s and end with %s", header(got[10], "id"),
				header(got[20], "id"))
		}
		if n := len(l.all("outbox.event.order")); n != 21 {
			t.Errorf("%d records", n)
		}
	})
}
