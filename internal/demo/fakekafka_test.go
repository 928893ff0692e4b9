package demo

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What the demo rests on: whoever initialises a transactional id shuts out the one before, in every
// way that it could go on.
func TestFakeKafkaFences(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	w, err := newWorld(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	producer := func() *kgo.Client {
		c, err := kgo.NewClient(w.brokers, kgo.TransactionalID("t"), kgo.DefaultProduceTopic(topic))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		if _, _, err := c.ProducerID(ctx); err != nil {
			t.Fatal(err)
		}
		return c
	}
	send := func(c *kgo.Client, text string) error {
		return c.ProduceSync(ctx, kgo.StringRecord(text)).FirstErr()
	}

	old := producer()
	if err := old.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := send(old, "of the old one"); err != nil {
		t.Fatal(err)
	}
	id, epoch, err := old.ProducerID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	young := producer()

	if err := send(old, "late"); err == nil {
		t.Error("the old producer can still produce")
	}
	end := kmsg.NewPtrEndTxnRequest()
	end.TransactionalID, end.ProducerID, end.ProducerEpoch, end.Commit = "t", id, epoch, true
	if resp, err := end.RequestWith(ctx, w.kafka); err != nil || resp.ErrorCode == 0 {
		t.Errorf("the old producer's commit: %v, error code %d", err, resp.ErrorCode)
	}
	again := kmsg.NewPtrInitProducerIDRequest()
	again.TransactionalID, again.ProducerID, again.ProducerEpoch = kmsg.StringPtr("t"), id, epoch
	again.TransactionTimeoutMillis = 1000
	if resp, err := again.RequestWith(ctx, w.kafka); err != nil ||
		!errors.Is(kerr.ErrorForCode(resp.ErrorCode), kerr.ProducerFenced) {
		t.Errorf("the old producer's recovery: %v, error code %d, want PRODUCER_FENCED", err,
			resp.ErrorCode)
	}

	if err := young.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := send(young, "of the young one"); err != nil {
		t.Fatal(err)
	}
	if err := young.EndTransaction(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	reader, err := kgo.NewClient(w.brokers, kgo.ConsumeTopics(topic),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if seen := reader.PollFetches(ctx).Records(); len(seen) != 1 ||
		string(seen[0].Value) != "of the young one" {
		t.Errorf("%d records are visible, want one, of the young producer: %v", len(seen), seen)
	}
}
