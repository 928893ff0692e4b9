package migrations

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/delivery"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

func TestConvertPosition(t *testing.T) {
	for name, c := range map[string]struct{ record, want string }{
		"none": {"", "null"},
		"earlier layout": {
			`{"v":1,"delivery":"exactly-once","entry":"5-0","count":7,"at":9}`,
			`{"at":9,"count":7,"delivery":"exactly-once","entry":"5-0"}`,
		},
		"converted":    {`{"v":2,"lane":"l","position":{"entry":"5-0"}}`, `{"entry":"5-0"}`},
		"none, before": {`{"v":2,"lane":"l","position":null}`, "null"},
	} {
		var record []byte
		if c.record != "" {
			record = []byte(c.record)
		}
		got, err := convertPosition(record)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v; want %s", name, got, err, c.want)
		}
	}
	for _, record := range []string{"{", `{"v":3}`, `{}`} {
		if got, err := convertPosition([]byte(record)); err == nil {
			t.Errorf("%s became %s", record, got)
		}
	}
}

// An outbox of the earlier layout is converted: each shard has a record that relays of that layout
// refuse.
func TestLanesAreMadeOfTheEarlierLayout(t *testing.T) {
	s := inMemory(t)
	m := s.migrator(t, orders)
	ctx := testContext(t)
	if err := migrate(ctx, m, lanesVersion-1); err != nil {
		t.Fatal(err)
	}
	topic := names.PositionsTopic(orders.Outbox)
	err := s.kafkaClient(t, kgo.RecordPartitioner(kgo.ManualPartitioner())).ProduceSync(ctx,
		&kgo.Record{
			Topic: topic, Partition: 1, Key: []byte(delivery.PositionKey(orders.Outbox, 1)),
			Value: []byte(`{"v":1,"delivery":"exactly-once","entry":"5-0","count":7,` +
				`"fingerprint":"","at":9}`),
		}).FirstErr()
	if err != nil {
		t.Fatal(err)
	}

	alive, err := json.Marshal(map[string]any{
		"state": "running", "instance": "r",
		"at": time.Now().UnixMilli(),
	})
	if err != nil {
		t.Fatal(err)
	}
	rdb := s.redisClient(t)
	if err := rdb.HSet(ctx, names.StatusKey(orders.Outbox), "0", alive).Err(); err != nil {
		t.Fatal(err)
	}
	plan, err := m.Plan(ctx, Newest)
	if err != nil || len(plan.Refused) != 1 || plan.Refused[0].Problem != RelaysRunning {
		t.Fatalf("beside a relay: %+v, %v", plan.Refused, err)
	}
	//nolint:errorlint // as go-redis returns it
	if err := rdb.Del(ctx, names.StatusKey(orders.Outbox)).Err(); err != nil && err != redis.Nil {
		t.Fatal(err)
	}
	for range 2 { // again, as after a kill before the version was recorded
		if err := rdb.HSet(ctx, names.LayoutKey(orders.Outbox), outbox.LayoutFieldVersion,
			lanesVersion-1).Err(); err != nil {
			t.Fatal(err)
		}
		if err := migrate(ctx, m, Newest); err != nil {
			t.Fatal(err)
		}
	}
	last := map[int32]*delivery.Position{}
	reader := s.kafkaClient(t, kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	var records []*kgo.Record
	for n := 0; n < 2*orders.Shards; { // a position a shard, twice
		records = append(records, reader.PollFetches(ctx).Records()...)
		if ctx.Err() != nil {
			t.Fatalf("%d records", len(records))
		}
		n = 0
		for _, r := range records {
			if _, err := delivery.ParsePosition(r.Value); err == nil {
				n++
			}
		}
	}
	for _, r := range records {
		if string(r.Key) != delivery.PositionKey(orders.Outbox, int(r.Partition)) {
			continue
		}
		if p, err := delivery.ParsePosition(r.Value); err == nil {
			last[r.Partition] = p
		}
	}
	if len(last) != orders.Shards || !last[0].None() || last[1].None() {
		t.Errorf("positions: %+v", last)
	}
	mustBeCurrent(t, m)
}
