//go:build integration

package integration_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
)

// readValues returns the committed values of each partition.
func readValues(ctx context.Context, k *servers.Kafka, topic string) (map[int32][]string, error) {
	values := map[int32][]string{}
	err := integration.ReadCommitted(ctx, []kgo.Opt{kgo.SeedBrokers(k.Addrs()...)},
		func(r *kgo.Record) error {
			values[r.Partition] = append(values[r.Partition], string(r.Value))
			return nil
		}, topic)
	return values, err
}

func TestReadCommittedEndsAtTheLastStableOffset(t *testing.T) {
	t.Parallel()
	s, ctx, prefix := integration.Servers(t), integration.Context(t, time.Minute),
		integration.Prefix(t)
	opts := []kgo.Opt{kgo.SeedBrokers(s.Kafka.Addrs()...)}
	plain := integration.KafkaClient(t, s.Kafka, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if _, err := kadm.NewClient(plain).CreateTopic(ctx, 3, 1, nil, prefix); err != nil {
		t.Fatal(err)
	}
	expect := func(when string, want map[int32][]string) {
		t.Helper()
		got, err := readValues(ctx, s.Kafka, prefix)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%s: %v, %v; want %v", when, got, err, want)
		}
	}
	transact := func(name string, end kgo.TransactionEndTry, values ...string) *kgo.Client {
		t.Helper()
		c := integration.KafkaClient(t, s.Kafka, kgo.TransactionalID(prefix+name),
			kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err := c.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			if err := c.ProduceSync(ctx, &kgo.Record{
				Topic: prefix, Partition: 1,
				Value: []byte(v),
			}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if slices.Contains(values, "open") {
			return c
		}
		if err := c.EndTransaction(ctx, end); err != nil {
			t.Fatal(err)
		}
		return c
	}

	settle := func() {
		t.Helper()
		if err := integration.AwaitStable(ctx, opts, prefix); err != nil {
			t.Fatal(err)
		}
	}

	expect("empty", map[int32][]string{})
	if err := plain.ProduceSync(ctx,
		&kgo.Record{Topic: prefix, Partition: 2, Value: []byte("plain")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	transact("a", kgo.TryCommit, "1", "2")
	settle()
	expect("committed", map[int32][]string{1: {"1", "2"}, 2: {"plain"}})
	transact("b", kgo.TryAbort, "no", "no")
	settle()
	expect("aborted at the end", map[int32][]string{1: {"1", "2"}, 2: {"plain"}})
	open := transact("c", kgo.TryCommit, "open")
	transact("d", kgo.TryCommit, "after")
	short := integration.Context(t, 200*time.Millisecond)
	if err := integration.AwaitStable(short, opts, prefix); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("stable with an open transaction: %v", err)
	}
	expect("open transaction", map[int32][]string{1: {"1", "2"}, 2: {"plain"}})
	if err := open.EndTransaction(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	settle()
	expect("all ended", map[int32][]string{1: {"1", "2", "open", "after"}, 2: {"plain"}})

	failure := errors.New("stop")
	err := integration.ReadCommitted(ctx, opts, func(*kgo.Record) error { return failure }, prefix)
	if !errors.Is(err, failure) {
		t.Fatalf("error of the function: %v", err)
	}
	if _, err := readValues(integration.Context(t, time.Second), s.Kafka, prefix+"-none"); err == nil {
		t.Fatal("no error for an unknown topic")
	}
}
