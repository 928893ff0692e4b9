package deadletter

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/names"
)

const topicName = "sluice.orders.dlq"

// open makes a topic of three partitions on a substitute of Kafka.
func open(t *testing.T) (*Topic, *kfake.Cluster) {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(2), kfake.SeedTopics(3, topicName))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	client, err := kgo.NewClient(append(ProducerOpts(), kgo.SeedBrokers(cluster.ListenAddrs()...))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return Open(client, topicName), cluster
}

// put writes records as a relay does: in a transaction, spread by key.
func put(t *testing.T, cluster *kfake.Cluster, end kgo.TransactionEndTry, records ...*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...),
		kgo.TransactionalID(t.Name()), kgo.DefaultProduceTopic(topicName))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := client.EndTransaction(t.Context(), end); err != nil {
		t.Fatal(err)
	}
}

func letters(t *testing.T, topic *Topic) []*Letter {
	t.Helper()
	x, err := topic.Index(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	return x.Letters()
}

func refs(all []*Letter) string {
	texts := make([]string, len(all))
	for i, l := range all {
		texts[i] = l.Ref()
	}
	return strings.Join(texts, " ")
}

// chunked cuts a value as a relay does.
func chunked(key string, value []byte, n int) []*kgo.Record {
	var records []*kgo.Record
	size := (len(value) + n - 1) / n
	for i := range n {
		k := key
		if i > 0 {
			k = fmt.Sprintf("%s#%d", key, i)
		}
		records = append(records, record(k, value[i*size:min((i+1)*size, len(value))], "sluice-reason",
			"too_large", "sluice-chunks", fmt.Sprint(n)))
	}
	return records
}

func TestTopic(t *testing.T) {
	topic, cluster := open(t)
	if got := letters(t, topic); len(got) != 0 {
		t.Fatalf("an empty topic: got %d letters", len(got))
	}
	large := strings.Repeat("payload ", 1000)
	put(t, cluster, kgo.TryCommit,
		append(chunked("orders/2/9-0", resp("id", "e9", "payload", large), 7),
			record("orders/0/1-0", resp("id", "e1"), "sluice-reason", "no_route"))...)
	put(t, cluster, kgo.TryAbort, record("orders/0/2-0", resp("id", "aborted")))

	all := letters(t, topic)
	if refs(all) != "0/1-0 2/9-0" {
		t.Fatalf("got %s", refs(all))
	}
	fields, err := topic.Load(t.Context(), all[1])
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := get(fields, "payload"); string(v) != large {
		t.Errorf("the payload has %d bytes, want %d", len(v), len(large))
	}

	if err := topic.Drop(t.Context(), all[1]); err != nil {
		t.Fatal(err)
	}
	if got := letters(t, topic); refs(got) != "0/1-0" {
		t.Errorf("after the drop: got %s", refs(got))
	}
	if err := topic.Drop(t.Context(), all...); err != nil {
		t.Fatal(err)
	}
	if got := letters(t, topic); len(got) != 0 {
		t.Errorf("after dropping all: got %s", refs(got))
	}
}

// Reading goes on where a leader has moved, and does not wait at an end of markers.
func TestIndexSpansPartitionsAndLeaders(t *testing.T) {
	topic, cluster := open(t)
	for i := range 50 {
		put(t, cluster, kgo.TryCommit, record(fmt.Sprintf("orders/0/%d-0", i+1), resp("id", "e")))
	}
	for p := range int32(3) {
		if err := cluster.MoveTopicPartition(topicName, p, p%2); err != nil {
			t.Fatal(err)
		}
	}
	if got := letters(t, topic); len(got) != 50 {
		t.Errorf("got %d letters, want 50", len(got))
	}
}

func TestLoadSaysWhatIsMissing(t *testing.T) {
	topic, cluster := open(t)
	put(t, cluster, kgo.TryCommit, chunked("orders/2/9-0", resp("id", "e9", "payload", "abc"),
		3)[:2]...)
	put(t, cluster, kgo.TryCommit, record("orders/2/8-0", []byte("nonsense")))
	all := letters(t, topic)
	if _, err := topic.Load(t.Context(), all[1]); err == nil ||
		!strings.Contains(err.Error(), "chunk 3 of 3") {
		t.Errorf("got %v", err)
	}
	if _, err := topic.Load(t.Context(), all[0]); err == nil ||
		!strings.Contains(err.Error(), "not the fields of an entry") {
		t.Errorf("got %v", err)
	}
	if err := topic.Drop(t.Context(), all...); err != nil {
		t.Fatal(err)
	}
	if got := letters(t, topic); len(got) != 0 {
		t.Errorf("an incomplete letter cannot be dropped: %s", refs(got))
	}
}

func TestNoTopic(t *testing.T) {
	_, cluster := open(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := Open(client, names.DeadLetterTopic("other")).Index(t.Context(),
		"other"); !errors.Is(err, ErrNoTopic) {
		t.Errorf("got %v", err)
	}
}
