package consistency

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	fetchBytes       = 1 << 20
	gentleFetchBytes = 256 << 10
	fetchPause       = 250 * time.Millisecond // after a failure, doubled by each further one
	mostPause        = 4 * time.Second
	patience         = 20 * time.Second // how long fetches may fail in a row
)

func (k *kafkaLogs) read(ctx context.Context, name string, partition int32, from, to int64,
	fn func(*kgo.Record) error,
) error {
	if from >= to {
		return nil
	}
	type piece struct {
		from, next int64
		records    int
		fetched    *kmsg.FetchResponseTopicPartition
	}
	at := from
	get := func(ctx context.Context, p *piece) (more bool, err error) {
		if p.fetched, err = k.persist(ctx, name, partition, at, to); err != nil {
			return false, err
		}
		p.from = at
		if p.next, p.records = batchesEnd(p.fetched.RecordBatches); p.next <= at {
			return false, fmt.Errorf(
				"the broker has nothing at offset %d, before the end %d that it has named", at, to)
		}
		at = p.next
		return at < to, nil
	}
	batches := batchReader{decompressor: k.decompressor, buffers: k.buffers}
	return prefetch(ctx, k.throttle, get, func(p *piece) error {
		if err := k.throttle.take(ctx, p.records); err != nil {
			return err
		}
		err := batches.read(name, p.from, p.fetched, func(r *kgo.Record) error {
			if r.Offset >= to {
				return errStop
			}
			return fn(r)
		})
		if errors.Is(err, errDamaged) {
			return fmt.Errorf("kafka: fetch from offset %d: %w", p.from, err)
		}
		return err
	})
}

// persist fetches, and tries again for a while what may succeed by itself.
func (k *kafkaLogs) persist(ctx context.Context, name string, partition int32, from,
	to int64,
) (*kmsg.FetchResponseTopicPartition, error) {
	var failing time.Time // since when
	for pause := fetchPause; ; pause = min(2*pause, mostPause) {
		fetched, err := k.fetch(ctx, name, partition, from, to)
		if err == nil {
			return fetched, nil
		}
		if failing.IsZero() {
			failing = time.Now()
		}
		if !worthAnotherTry(err) || ctx.Err() != nil || time.Since(failing) > patience {
			return nil, err
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
		k.forget(ctx, name)
	}
}

// worthAnotherTry reports whether a fetch may succeed by itself: leaders move, connections break.
func worthAnotherTry(err error) bool {
	var ke *kerr.Error
	if errors.As(err, &ke) {
		return ke.Retriable && !errors.Is(err, kerr.UnknownTopicOrPartition) &&
			!errors.Is(err, kerr.UnknownTopicID)
	}
	return true
}

// forget asks again who leads a topic's partitions. What fails is found by the next fetch.
func (k *kafkaLogs) forget(ctx context.Context, name string) {
	if details, err := k.admin.ListTopics(ctx, name); err == nil && details[name].Err == nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		// A topic that was made again is another one: its ID stays the old one, and the fetch
		// fails.
		d := details[name]
		if old, ok := k.leaders[name]; ok {
			d.ID = old.ID
		}
		k.leaders[name] = d
	}
}

// fetch reads one piece of a partition, about as much as there is before to.
func (k *kafkaLogs) fetch(ctx context.Context, name string, partition int32, from,
	to int64,
) (*kmsg.FetchResponseTopicPartition, error) {
	k.mu.Lock()
	detail, known := k.leaders[name]
	k.mu.Unlock()
	p, ok := detail.Partitions[partition]
	if !known || !ok {
		return nil, fmt.Errorf("kafka: topic %s has no partition %d", name, partition)
	}
	if p.Leader < 0 {
		return nil, kerr.LeaderNotAvailable
	}
	req := kmsg.NewPtrFetchRequest()
	most := int64(fetchBytes)
	if k.throttle.gentle() {
		most = gentleFetchBytes
	}
	size := int32(min(most, 64<<10+(to-from)<<10))
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 500, 1, size
	req.IsolationLevel = 1 // read_committed
	req.SessionEpoch = -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = name, detail.ID
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes = partition, from, size
	t.Partitions = append(t.Partitions, rp)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, k.client.Broker(int(p.Leader)))
	if err != nil {
		return nil, fmt.Errorf("kafka: fetch: %w", err)
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, fmt.Errorf("kafka: fetch: %w", err)
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, errors.New("kafka: fetch: the answer has no partition")
	}
	fetched := &resp.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(fetched.ErrorCode); err != nil {
		return nil, fmt.Errorf("kafka: fetch from offset %d: %w", from, err)
	}
	return fetched, nil
}
