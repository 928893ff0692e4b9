package deadletter

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/outbox"
)

const shardsOfOrders = 2

func newRedis(t *testing.T) (*redis.Client, *miniredis.Miniredis) {
	t.Helper()
	mini := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: mini.Addr()})
	t.Cleanup(func() { _ = client.Close() })
	for shard := range shardsOfOrders {
		if err := client.XGroupCreateMkStream(t.Context(), outbox.StreamKey("orders", shard), "g",
			"0").Err(); err != nil {
			t.Fatal(err)
		}
	}
	return client, mini
}

// prepared puts one letter into the topic and prepares it.
func prepared(t *testing.T, topic *Topic, cluster *kfake.Cluster, edit Edit,
	words ...string,
) Replay {
	t.Helper()
	put(t, cluster, kgo.TryCommit, record("orders/1/1000-5", resp(words...)))
	l := letters(t, topic)[0]
	fields, err := topic.Load(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Prepare(l, fields, shardsOfOrders, edit)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// appended gives the entries of all shards.
func appended(t *testing.T, client *redis.Client) []redis.XMessage {
	t.Helper()
	var all []redis.XMessage
	for shard := range shardsOfOrders {
		m, err := client.XRange(t.Context(), outbox.StreamKey("orders", shard), "-", "+").Result()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m...)
	}
	return all
}

func TestSend(t *testing.T) {
	topic, cluster := open(t)
	client, _ := newRedis(t)
	r := prepared(t, topic, cluster,
		Edit{Set: map[string]string{"topic": "elsewhere"}, Unset: []string{"extra"}},
		"id", "e1", "aggregatetype", "order", "aggregateid", "42", "type", "t", "payload", "p",
		"headers", "{}", "more", "3", "extra", "x")
	result, err := topic.Send(t.Context(), client, r)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"id": "e1", "aggregatetype": "order", "aggregateid": "42", "type": "t", "payload": "p",
		"headers": "{}",
		"topic":   "elsewhere", "time": "1000",
	}
	got, err := client.XRange(t.Context(),
		outbox.StreamKey("orders", outbox.Shard("42", shardsOfOrders)), "-", "+").Result()
	if err != nil || len(got) != 1 || got[0].ID != result.New {
		t.Fatalf("got %v, %v; result %+v", got, err, result)
	}
	if diff := cmp.Diff(want, got[0].Values); diff != "" {
		t.Error(diff)
	}
	if left := letters(t, topic); len(left) != 0 {
		t.Errorf("it is still a dead letter: %s", refs(left))
	}
}

// The tombstone fails after the append: the second try appends nothing, and drops.
func TestSendAfterALostTombstone(t *testing.T) {
	topic, cluster := open(t)
	client, _ := newRedis(t)
	r := prepared(t, topic, cluster, Edit{}, "id", "e1", "aggregateid", "42")
	cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, t := range req.(*kmsg.ProduceRequest).Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.TopicAuthorizationFailed.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	first, err := topic.Send(t.Context(), client, r)
	if err == nil || first.New == "" {
		t.Fatalf("got %+v, %v", first, err)
	}
	if left := letters(t, topic); len(left) != 1 {
		t.Fatalf("%d dead letters, want 1", len(left))
	}
	second, err := topic.Send(t.Context(), client, r)
	if err != nil || second.New != "" {
		t.Errorf("got %+v, %v", second, err)
	}
	if got := appended(t, client); len(got) != 1 {
		t.Errorf("appended %d times", len(got))
	}
	if left := letters(t, topic); len(left) != 0 {
		t.Errorf("still a dead letter: %s", refs(left))
	}
}

// Two operators at once append it once.
func TestSendTwiceAtOnce(t *testing.T) {
	topic, cluster := open(t)
	client, _ := newRedis(t)
	r := prepared(t, topic, cluster, Edit{}, "id", "e1", "aggregateid", "42")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := topic.Send(t.Context(), client, r); err != nil &&
				!errors.Is(err, redis.TxFailedErr) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := appended(t, client); len(got) != 1 {
		t.Errorf("appended %d times", len(got))
	}
}

// A key of another type is noticed before anything is written.
func TestSendToAWrongType(t *testing.T) {
	topic, cluster := open(t)
	client, mini := newRedis(t)
	r := prepared(t, topic, cluster, Edit{}, "id", "e1", "aggregateid", "42")
	stream := outbox.StreamKey("orders", r.Shard)
	mini.Del(stream)
	if err := mini.Set(stream, "text"); err != nil {
		t.Fatal(err)
	}
	if _, err := topic.Send(t.Context(), client, r); err == nil ||
		!strings.Contains(err.Error(), "is not a stream") {
		t.Errorf("got %v", err)
	}
	for _, key := range mini.Keys() {
		if strings.Contains(key, "once") {
			t.Errorf("a marker is left: %s", key)
		}
	}
	if left := letters(t, topic); len(left) != 1 {
		t.Errorf("%d dead letters, want 1", len(left))
	}
}

func TestPrepare(t *testing.T) {
	l := &Letter{Outbox: "orders", Shard: 5}
	if _, err := Prepare(l, []Field{{"id", []byte("1")}}, 2, Edit{}); err == nil ||
		!strings.Contains(err.Error(), "has 2 shards") {
		t.Errorf("an entry without a key of a shard that is not there: got %v", err)
	}
	if r, err := Prepare(l, []Field{{"id", []byte("1")}}, 2,
		Edit{Set: map[string]string{"key": "k"}}); err != nil || r.Shard != outbox.Shard("k", 2) {
		t.Errorf("got %+v, %v", r, err)
	}
	if _, err := Prepare(l, nil, 2, Edit{Set: map[string]string{"more": "1"}}); err == nil {
		t.Error("more can be set")
	}
	r, err := Prepare(l, []Field{{"id", []byte("1")}, {"id", []byte("2")}, {"time", []byte("7")}}, 9,
		Edit{Set: map[string]string{"id": "3"}})
	if err != nil || len(r.Fields) != 2 || string(r.Fields[0].Value) != "3" ||
		string(r.Fields[1].Value) != "7" {
		t.Errorf("a field that occurs twice: got %v, %v", r.Fields, err)
	}
}
