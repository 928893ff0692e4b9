package delivery

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/sluice-outbox/sluice/internal/kafkalog"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/internal/retry"
)

// trial sends records in a transaction that it always aborts, to learn which of them Kafka refuses.
// It writes the requests itself: a producer client gives up a partition after the first refusal,
// and hides which record of a batch was meant (KIP-467). A refused batch does not use up its
// sequence number, so the next batch has it.
type trial struct {
	mu     sync.Mutex
	name   string
	client *kgo.Client
}

// Try returns those of the records that Kafka refuses for their content. None of them becomes
// visible. An error, also for a context that ends, comes with the refusals found so far.
func (e *Engine) Try(ctx context.Context, records []*kgo.Record) ([]Refusal, error) {
	t := &e.trial
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.client == nil {
		older := kversion.Stable()
		// from 12 on partitions join by themselves, and epochs move
		older.SetMaxKeyVersion(kmsg.Produce.Int16(), 11)
		older.SetMaxKeyVersion(kmsg.EndTxn.Int16(), 4)             // likewise
		older.SetMaxKeyVersion(kmsg.AddPartitionsToTxn.Int16(), 3) // from 4 on it is the brokers' own
		t.name = names.LaneID(e.cfg.Outbox, newLaneName(), 'p')
		client, err := kgo.NewClient(append(slices.Clone(e.cfg.Producer), kgo.TransactionalID(t.name),
			kgo.MaxVersions(older))...)
		if err != nil {
			return nil, fmt.Errorf("kafka: %w", err)
		}
		t.client = client
	}
	return t.run(ctx, records, e.cfg.TransactionTimeout)
}

func (t *trial) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.client != nil {
		t.client.Close()
	}
}

// attempt is one transaction of a trial.
type attempt struct {
	*trial
	leaders map[string]*kafkalog.Topic
	id      int64
	epoch   int16
}

func (t *trial) run(ctx context.Context, records []*kgo.Record,
	timeout time.Duration,
) (refusals []Refusal, err error) {
	init := kmsg.NewPtrInitProducerIDRequest()
	init.TransactionalID, init.TransactionTimeoutMillis = &t.name, int32(timeout.Milliseconds())
	var ids *kmsg.InitProducerIDResponse
	for {
		if ids, err = init.RequestWith(ctx, t.client); err != nil {
			return nil, fmt.Errorf("kafka: initialise transactional id %s: %w", t.name, err)
		}
		err = kerr.ErrorForCode(ids.ErrorCode)
		if !errors.Is(err, kerr.ConcurrentTransactions) {
			break
		}
		if err := retry.Sleep(ctx, 20*time.Millisecond); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, fmt.Errorf("kafka: initialise transactional id %s: %w", t.name, err)
	}
	by, topics := map[place][]*kgo.Record{}, Places{}
	for _, r := range records {
		at := place{r.Topic, r.Partition}
		by[at] = append(by[at], r)
		topics[r.Topic] = nil
	}
	leaders, err := kafkalog.Leaders(ctx, t.client, topics.topics()...)
	if err != nil {
		return nil, err
	}
	a := &attempt{t, leaders, ids.ProducerID, ids.ProducerEpoch}
	if err := a.join(ctx, by); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.abort(context.WithoutCancel(ctx))) }()
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		slots = make(chan struct{}, 8)
	)
	for at, of := range by {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			found, failed := a.partition(ctx, at, of)
			mu.Lock()
			defer mu.Unlock()
			refusals = append(refusals, found...)
			if failed != nil {
				err = errors.Join(err, &recordError{at, failed})
			}
		})
	}
	wg.Wait()
	if len(refusals) > 0 {
		err = nil // some refusals are known: the rest is tried again
	}
	return refusals, err
}

// join adds partitions to the transaction.
func (a *attempt) join(ctx context.Context, by map[place][]*kgo.Record) error {
	req := addPartitions(a.name, a.id, a.epoch, maps.Keys(by))
	for {
		resp, err := req.RequestWith(ctx, a.client)
		if err != nil {
			return fmt.Errorf("kafka: add partitions to a trial: %w", err)
		}
		failed := notAdded(resp)
		if !errors.Is(failed, kerr.ConcurrentTransactions) {
			return failed
		}
		if err := retry.Sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

func (a *attempt) abort(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = a.name, a.id, a.epoch, false
	resp, err := req.RequestWith(ctx, a.client)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("kafka: abort a trial: %w", err)
	}
	return nil
}

// partition tries records of one partition: all in one batch, without those that Kafka names, and
// by halves where it names none.
func (a *attempt) partition(ctx context.Context, at place,
	records []*kgo.Record,
) (refusals []Refusal, err error) {
	sequence := int32(0)
	pending := [][]*kgo.Record{records}
	for len(pending) > 0 {
		run := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		if len(run) == 0 {
			continue
		}
		named, err := a.persist(ctx, at, run, sequence)
		switch {
		case err == nil:
			sequence += int32(len(run))
		case !IsRefusal(err):
			return refusals, err
		case len(run) == 1:
			refusals = append(refusals, Refusal{run[0], err})
		case len(named) > 0 && len(named) < len(run):
			rest := make([]*kgo.Record, 0, len(run))
			for i, r := range run {
				if slices.Contains(named, i) {
					refusals = append(refusals, Refusal{r, err})
				} else {
					rest = append(rest, r)
				}
			}
			pending = append(pending, rest)
		default:
			pending = append(pending, run[len(run)/2:], run[:len(run)/2])
		}
	}
	return refusals, nil
}

// persist sends one batch until Kafka has an answer that lasts. A broker that has not yet heard
// from the coordinator that the partition is in the transaction says NOT_ENOUGH_REPLICAS to clients
// of this version (KIP-890).
func (a *attempt) persist(ctx context.Context, at place, records []*kgo.Record,
	sequence int32,
) (named []int, err error) {
	for wait := retry.Backoff(5*time.Millisecond, 200*time.Millisecond); ; {
		named, err = a.produce(ctx, at, records, sequence)
		if err == nil || IsRefusal(err) || !kerr.IsRetriable(err) {
			return named, err
		}
		if retry.Sleep(ctx, wait.NextBackOff()) != nil {
			return nil, err
		}
	}
}

// produce sends one batch. named are the records that the broker names as the reason of a refusal.
func (a *attempt) produce(ctx context.Context, at place, records []*kgo.Record,
	sequence int32,
) (named []int, err error) {
	req := kmsg.NewPtrProduceRequest()
	req.TransactionID, req.Acks, req.TimeoutMillis = &a.name, -1, int32(tryTimeout.Milliseconds())
	t := kmsg.NewProduceRequestTopic()
	t.Topic = at.topic
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = at.partition, a.batch(records, sequence)
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	topic := a.leaders[at.topic]
	if topic == nil || int(at.partition) >= len(topic.Partitions) {
		return nil, kerr.UnknownTopicOrPartition
	}
	if err := topic.Partitions[at.partition].Err; err != nil {
		return nil, err
	}
	resp, err := req.RequestWith(ctx, a.client.Broker(int(topic.Partitions[at.partition].Leader)))
	if err != nil {
		return nil, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, errors.New("the answer has no partition")
	}
	got := resp.Topics[0].Partitions[0]
	for _, e := range got.ErrorRecords {
		named = append(named, int(e.RelativeOffset))
	}
	return named, kerr.ErrorForCode(got.ErrorCode)
}

// batch encodes records as record batch format 2 of the Kafka protocol, uncompressed.
func (a *attempt) batch(records []*kgo.Record, sequence int32) []byte {
	const (
		transactional = 1 << 4
		lengthFrom    = 12 // what Length does not count
		crcFrom       = 21 // what CRC does not cover
	)
	stamp := func(r *kgo.Record) int64 {
		if r.Timestamp.IsZero() {
			return time.Now().UnixMilli()
		}
		return r.Timestamp.UnixMilli()
	}
	first := stamp(records[0])
	b := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, Attributes: transactional,
		LastOffsetDelta: int32(len(records) - 1), FirstTimestamp: first,
		MaxTimestamp: first, ProducerID: a.id, ProducerEpoch: a.epoch, FirstSequence: sequence,
		NumRecords: int32(len(records)),
	}
	for i, r := range records {
		at := stamp(r)
		b.MaxTimestamp = max(b.MaxTimestamp, at)
		x := kmsg.Record{TimestampDelta64: at - first, OffsetDelta: int32(i), Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			x.Headers = append(x.Headers, kmsg.Header{Key: h.Key, Value: h.Value})
		}
		x.Length = int32(len(x.AppendTo(nil)) - 1) // without itself, one byte as long as it is 0
		b.Records = x.AppendTo(b.Records)
	}
	raw := b.AppendTo(nil)
	b.Length = int32(len(raw) - lengthFrom)
	raw = b.AppendTo(nil)
	b.CRC = int32(crc32.Checksum(raw[crcFrom:], crc32.MakeTable(crc32.Castagnoli)))
	return b.AppendTo(nil)
}
