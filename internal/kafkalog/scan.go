package kafkalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ErrNoTopic says that no broker knows the topic.
var ErrNoTopic = errors.New("the topic does not exist: run sluice migrate apply")

// Log is one partition as its leader knows it. It holds no connection.
type Log struct {
	broker    *kgo.Broker
	topic     string
	id        [16]byte
	partition int32
	leader    int32
	epoch     int32
	level     kgo.IsolationLevel
}

// Open gives the log of a partition of a topic that Leaders has found.
func Open(client *kgo.Client, t *Topic, partition int, level kgo.IsolationLevel) (*Log, error) {
	switch {
	case t == nil:
		return nil, ErrNoTopic
	case t.Err != nil:
		return nil, fmt.Errorf("topic %s: %w", t.Name, t.Err)
	case partition >= len(t.Partitions):
		return nil, fmt.Errorf(
			"topic %s has %d partitions, none for number %d: run sluice migrate status", t.Name,
			len(t.Partitions), partition)
	}
	p := t.Partitions[partition]
	if p.Err != nil {
		return nil, fmt.Errorf("topic %s, partition %d: %w", t.Name, partition, p.Err)
	}
	return &Log{
		broker: client.Broker(int(p.Leader)), topic: t.Name, id: t.ID, partition: int32(partition),
		leader: p.Leader, epoch: p.Epoch, level: level,
	}, nil
}

// Leader is the broker that is asked.
func (l *Log) Leader() int32 { return l.leader }

// End is what a scan has found at the end of a log.
type End struct {
	// Next is the offset after the last one that was read, markers of transactions included.
	Next int64
	// Stable is the last stable offset: no transaction that begins before it is open.
	Stable int64
}

// Scan gives fn the records from an offset on, until the leader says that nothing follows them:
// with read_committed up to the last stable offset, else up to the high watermark and with the
// markers of transactions. An offset before the first one is the first one. The end is decided when
// it is reached, never before: what a cleaner removes meanwhile is superseded by what it leaves.
func (l *Log) Scan(ctx context.Context, from int64, fn func(*kgo.Record)) (End, error) {
	if from < 0 {
		from = 0
	}
	for started := false; ; {
		answer, err := l.fetch(ctx, from)
		if err != nil {
			return End{}, l.wrap(err)
		}
		err = kerr.ErrorForCode(answer.ErrorCode)
		if errors.Is(err, kerr.OffsetOutOfRange) && !started {
			started = true
			if from, err = l.Offset(ctx, first); err != nil {
				return End{}, err
			}
			continue
		}
		if err != nil {
			return End{}, l.wrap(err)
		}
		uncommitted := l.level == kgo.ReadUncommitted()
		end := answer.LastStableOffset
		if uncommitted {
			end = answer.HighWatermark
		}
		fp, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
			Offset: from, IsolationLevel: l.level, KeepControlRecords: uncommitted, Topic: l.topic,
			Partition: l.partition,
		}, answer, kgo.DefaultDecompressor(), nil)
		if fp.Err != nil {
			return End{}, l.wrap(fp.Err)
		}
		for _, r := range fp.Records {
			if r.Offset < end {
				fn(r)
			}
		}
		if next >= end {
			return End{Next: max(from, next), Stable: answer.LastStableOffset}, nil
		}
		if next <= from {
			return End{}, l.wrap(fmt.Errorf("no progress at offset %d of %d", from, end))
		}
		from, started = next, true
	}
}

// fetchBytes is the most of a partition in one answer; a larger record comes alone.
const fetchBytes = 4 << 20

func (l *Log) fetch(ctx context.Context, from int64) (*kmsg.FetchResponseTopicPartition, error) {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis = 0 // the end is an answer, not something to wait at
	req.MinBytes = 0
	req.MaxBytes = fetchBytes
	if l.level != kgo.ReadUncommitted() {
		req.IsolationLevel = 1
	}
	req.SessionEpoch = -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = l.topic, l.id
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes, rp.CurrentLeaderEpoch = l.partition, from,
		fetchBytes, l.epoch
	t.Partitions = append(t.Partitions, rp)
	req.Topics = append(req.Topics, t)
	asked, cancel := context.WithTimeout(ctx, 2*askTimeout)
	defer cancel()
	answer, err := req.RequestWith(asked, l.broker)
	if err != nil {
		return nil, err
	}
	if err := kerr.ErrorForCode(answer.ErrorCode); err != nil {
		return nil, err
	}
	if len(answer.Topics) != 1 || len(answer.Topics[0].Partitions) != 1 {
		return nil, errors.New("the answer has no partition")
	}
	return &answer.Topics[0].Partitions[0], nil
}

// Timestamps that ask for an offset of their own (ListOffsets).
const (
	first  = -2
	latest = -1
)

// Start is the first offset.
func (l *Log) Start(ctx context.Context) (int64, error) { return l.Offset(ctx, first) }

// Latest is the last stable offset or, uncommitted, the high watermark. A leader that does not yet
// know how far its predecessor had got answers with an error (KIP-207), so the offset is not older
// than the question.
func (l *Log) Latest(ctx context.Context) (int64, error) { return l.Offset(ctx, latest) }

// Offset asks the leader for the offset of a timestamp.
func (l *Log) Offset(ctx context.Context, at int64) (int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	if l.level != kgo.ReadUncommitted() {
		req.IsolationLevel = 1
	}
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = l.topic
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.CurrentLeaderEpoch, p.Timestamp = l.partition, l.epoch, at
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	asked, cancel := context.WithTimeout(ctx, 2*askTimeout)
	defer cancel()
	answer, err := req.RequestWith(asked, l.broker)
	if err != nil {
		return 0, l.wrap(err)
	}
	if len(answer.Topics) != 1 || len(answer.Topics[0].Partitions) != 1 {
		return 0, l.wrap(errors.New("the answer has no partition"))
	}
	got := answer.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(got.ErrorCode); err != nil {
		return 0, l.wrap(err)
	}
	return got.Offset, nil
}

// Last returns the last record that matches, nil if there is none. It searches from the end
// backwards, in growing steps.
func (l *Log) Last(ctx context.Context,
	match func(*kgo.Record) bool,
) (last *kgo.Record, err error) {
	start, err := l.Start(ctx)
	if err != nil {
		return nil, err
	}
	end, err := l.Latest(ctx)
	if err != nil {
		return nil, err
	}
	for back := int64(64); ; back *= 16 {
		from := max(start, end-back)
		_, err := l.Scan(ctx, from, func(r *kgo.Record) {
			if match(r) {
				last = r
			}
		})
		if last != nil || err != nil || from == start {
			return last, err
		}
	}
}

// At returns the first record at or after an offset, markers among them if uncommitted; nil if
// there is none.
func (l *Log) At(ctx context.Context, offset int64) (*kgo.Record, error) {
	answer, err := l.fetch(ctx, offset)
	if err != nil {
		return nil, l.wrap(err)
	}
	fp, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Offset: offset, IsolationLevel: l.level, KeepControlRecords: l.level == kgo.ReadUncommitted(),
		Topic: l.topic, Partition: l.partition,
	}, answer, kgo.DefaultDecompressor(), nil)
	if fp.Err != nil || len(fp.Records) == 0 {
		return nil, l.wrapped(fp.Err)
	}
	return fp.Records[0], nil
}

func (l *Log) wrapped(err error) error {
	if err == nil {
		return nil
	}
	return l.wrap(err)
}

func (l *Log) wrap(err error) error {
	return fmt.Errorf("kafka: topic %s, partition %d, broker %d: %w", l.topic, l.partition, l.leader,
		err)
}
