package delivery

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/internal/retry"
)

// joiner adds all partitions of a transaction with one request.
//
// Since KIP-890 a producer's client does not: the leader of each partition asks the coordinator
// when the first record arrives. The coordinator writes one such change of a transaction at a time
// and refuses the others meanwhile; they are repeated after add.partitions.to.txn.retry.backoff.ms,
// 20 ms by default. So leaders join one after the other, and a transaction takes 20 ms for each
// broker that it writes to. The coordinator answers leaders at once whose partitions it knows
// already.
type joiner struct {
	id          string
	wanted      bool  // leaders add partitions, not the client
	coordinator int32 // of the transactional id; -1: not known
}

// transactionFeature is the level of Kafka's transactions; from epochLevel on leaders add
// partitions.
const (
	transactionFeature = "transaction.version"
	epochLevel         = 2
)

// leadersJoin asks how transactions are made here. What cannot be learned makes them slower, not
// wrong.
func leadersJoin(ctx context.Context, client *kgo.Client) bool {
	versions, err := kmsg.NewPtrApiVersionsRequest().RequestWith(ctx, client)
	return err == nil && slices.ContainsFunc(versions.FinalizedFeatures,
		func(f kmsg.ApiVersionsResponseFinalizedFeature) bool {
			return f.Name == transactionFeature && f.MaxVersionLevel >= epochLevel
		})
}

const (
	// joinTimeout bounds the wait for the coordinator. Without its answer leaders join by themselves.
	joinTimeout = time.Second
	// joinRetry is the first wait after the coordinator has refused, and joinRetryMax the longest: the
	// id's last transaction has markers to write still, or a leader was faster.
	joinRetry    = time.Millisecond
	joinRetryMax = 8 * time.Millisecond
)

// join adds the partitions if they have more than one leader. Its failure needs no treatment: what
// is wrong with the producer or a partition is told to the records too.
func (j *joiner) join(ctx context.Context, client *kgo.Client, at iter.Seq[place]) {
	if !j.wanted || !spread(client, at) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	for wait := joinRetry; ; wait = min(2*wait, joinRetryMax) {
		err := j.request(ctx, client, at)
		if err == nil {
			return
		}
		if !errors.Is(err, kerr.ConcurrentTransactions) {
			j.coordinator = -1 // it may have moved
			return
		}
		if retry.Sleep(ctx, wait) != nil {
			return
		}
	}
}

func (j *joiner) request(ctx context.Context, client *kgo.Client, at iter.Seq[place]) error {
	if j.coordinator < 0 {
		node, err := findCoordinator(ctx, client, j.id)
		if err != nil {
			return err
		}
		j.coordinator = node
	}
	producer, epoch, err := client.ProducerID(ctx)
	if err != nil {
		return err
	}
	req := addPartitions(j.id, producer, epoch, at)
	// Sent to the broker itself: kgo would repeat what the coordinator refuses for the moment.
	answer, err := client.Broker(int(j.coordinator)).Request(ctx, ofClients{req})
	if err != nil {
		return err
	}
	return notAdded(answer.(*kmsg.AddPartitionsToTxnResponse))
}

// addPartitions is the request that adds partitions, each once, to a producer's open transaction.
func addPartitions(id string, producer int64, epoch int16,
	at iter.Seq[place],
) *kmsg.AddPartitionsToTxnRequest {
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = id, producer, epoch
	topics, seen := Places{}, map[place]bool{}
	for p := range at {
		if !seen[p] {
			seen[p] = true
			topics[p.topic] = append(topics[p.topic], p.partition)
		}
	}
	for topic, partitions := range topics {
		t := kmsg.NewAddPartitionsToTxnRequestTopic()
		t.Topic, t.Partitions = topic, partitions
		req.Topics = append(req.Topics, t)
	}
	return req
}

// notAdded is why a partition was not added; nil: all were.
func notAdded(resp *kmsg.AddPartitionsToTxnResponse) (failed error) {
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				failed = fmt.Errorf("kafka: topic %s, partition %d: %w", t.Topic, p.Partition, err)
			}
		}
	}
	return failed
}

// ofClients is the request as clients send it; from version 4 on it is one between brokers.
type ofClients struct {
	*kmsg.AddPartitionsToTxnRequest
}

func (ofClients) MaxVersion() int16 { return 3 }

// findCoordinator finds the broker that coordinates a transactional id.
func findCoordinator(ctx context.Context, client *kgo.Client, id string) (int32, error) {
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorType, req.CoordinatorKeys = 1, []string{id}
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return -1, err
	}
	for _, c := range resp.Coordinators {
		if c.Key == id && c.ErrorCode == 0 {
			return c.NodeID, nil
		}
	}
	return -1, fmt.Errorf("kafka: no coordinator of %s", id)
}

// spread reports whether partitions have more than one leader, as far as the client knows.
func spread(client *kgo.Client, at iter.Seq[place]) bool {
	first := int32(-1)
	for p := range at {
		leader, _, err := client.PartitionLeader(p.topic, p.partition)
		switch {
		case err != nil || leader < 0:
		case first < 0:
			first = leader
		case leader != first:
			return true
		}
	}
	return false
}

// touched are the partitions of the open transaction, some of them more than once.
func (l *lane) touched(controls []*control) iter.Seq[place] {
	return func(yield func(place) bool) {
		for _, c := range controls {
			for _, p := range c.at {
				if !yield(p) {
					return
				}
			}
		}
		for _, s := range l.parts {
			if !yield(place{s.keys.topic, int32(s.keys.shard)}) {
				return
			}
			for p := range s.part.places {
				if !yield(p) {
					return
				}
			}
		}
	}
}
