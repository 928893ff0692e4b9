package deadletter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/internal/retry"
)

// Topic is a dead-letter topic. The client stays the caller's; it needs ManualPartitioner for Drop
// and Replay, as ProducerOpts gives it.
type Topic struct {
	client *kgo.Client
	admin  *kadm.Client
	name   string
}

// ProducerOpts are the options a client needs beside its brokers and credentials.
func ProducerOpts() []kgo.Opt {
	return []kgo.Opt{
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordDeliveryTimeout(30 * time.Second),
	}
}

// Open makes a Topic. It does no I/O.
func Open(client *kgo.Client, name string) *Topic {
	return &Topic{client: client, admin: kadm.NewClient(client), name: name}
}

// ErrNoTopic says that the dead-letter topic does not exist.
var ErrNoTopic = errors.New("the dead-letter topic does not exist: run sluice migrate apply")

// Index reads the whole topic as it is committed now.
func (t *Topic) Index(ctx context.Context, outboxName string) (*Index, error) {
	detail, err := t.detail(ctx)
	if err != nil {
		return nil, err
	}
	starts, err := t.admin.ListStartOffsets(ctx, t.name)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("kafka: offsets of topic %s: %w", t.name, err)
	}
	ends, err := t.admin.ListCommittedOffsets(ctx, t.name)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("kafka: offsets of topic %s: %w", t.name, err)
	}
	x := newIndex(outboxName)
	for _, p := range detail.Partitions.Sorted() {
		start, _ := starts.Lookup(t.name, p.Partition)
		end, _ := ends.Lookup(t.name, p.Partition)
		if err := t.read(ctx, p.Partition, start.Offset, end.Offset, x.add); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// Load fetches the fields of a letter. The error says so if they cannot be taken apart.
func (t *Topic) Load(ctx context.Context, l *Letter) ([]Field, error) {
	var value []byte
	for i := range l.wanted {
		c, ok := l.chunks[i]
		if !ok {
			return nil, fmt.Errorf("dead letter %s: chunk %d of %d is not in topic %s", l.Ref(), i+1,
				l.wanted, t.name)
		}
		var chunk *kgo.Record
		err := t.read(ctx, c.partition, c.offset, c.offset+1, func(r *kgo.Record) { chunk = r })
		if err != nil {
			return nil, err
		}
		if chunk == nil || !bytes.Equal(chunk.Key, l.key(i)) {
			return nil, fmt.Errorf("dead letter %s has changed meanwhile: look at it again", l.Ref())
		}
		value = append(value, chunk.Value...)
	}
	fields, err := decodeFields(value)
	if err != nil {
		return fields, fmt.Errorf("dead letter %s: its value is not the fields of an entry: %w", l.Ref(),
			err)
	}
	return fields, nil
}

// Drop ends letters for good: a tombstone for each of their records.
func (t *Topic) Drop(ctx context.Context, letters ...*Letter) error {
	var tombstones []*kgo.Record
	for _, l := range letters {
		for i, c := range l.chunks {
			tombstones = append(tombstones,
				&kgo.Record{Topic: t.name, Partition: c.partition, Key: l.key(i)})
		}
	}
	// The first chunk's tombstone last: while there is one of it the letter can be seen.
	slices.SortStableFunc(tombstones, func(a, b *kgo.Record) int { return len(b.Key) - len(a.Key) })
	if err := t.client.ProduceSync(ctx, tombstones...).FirstErr(); err != nil {
		return fmt.Errorf("kafka: tombstones for topic %s: %w; what is not dropped is still there",
			t.name, err)
	}
	return nil
}

func (t *Topic) detail(ctx context.Context) (kadm.TopicDetail, error) {
	details, err := t.admin.ListTopics(ctx, t.name)
	if err != nil {
		return kadm.TopicDetail{}, fmt.Errorf("kafka: metadata of topic %s: %w", t.name, err)
	}
	d := details[t.name]
	switch {
	case errors.Is(d.Err, kerr.UnknownTopicOrPartition):
		return d, fmt.Errorf("topic %s: %w", t.name, ErrNoTopic)
	case d.Err != nil:
		return d, fmt.Errorf("kafka: metadata of topic %s: %w", t.name, d.Err)
	}
	return d, nil
}

// attempts bounds how often a fetch is repeated while leaders move.
const attempts = 10

// read gives the committed records in [from, end) of a partition to visit. Fetches are explicit
// because a consumer does not tell that it has come to an end which consists of transaction
// markers, or of offsets that compaction has emptied.
func (t *Topic) read(ctx context.Context, partition int32, from, end int64,
	visit func(*kgo.Record),
) error {
	for failed := 0; from < end; {
		detail, err := t.detail(ctx)
		if err != nil {
			return err
		}
		leader := detail.Partitions[partition].Leader
		err = kerr.LeaderNotAvailable
		if leader >= 0 {
			from, err = t.fetch(ctx, detail, leader, partition, from, end, visit)
		}
		if err == nil {
			return nil
		}
		if failed++; failed == attempts || !kerr.IsRetriable(err) || ctx.Err() != nil {
			return fmt.Errorf("kafka: read topic %s, partition %d at offset %d: %w", t.name, partition, from,
				err)
		}
		_ = retry.Sleep(ctx, 300*time.Millisecond)
	}
	return nil
}

// fetchBytes bounds one answer. A single larger batch comes all the same.
const fetchBytes = 4 << 20

// fetch reads from one leader until end or an error, and gives the offset it has come to.
func (t *Topic) fetch(ctx context.Context, detail kadm.TopicDetail, leader, partition int32, from,
	end int64, visit func(*kgo.Record),
) (int64, error) {
	broker := t.client.Broker(int(leader))
	for from < end {
		req := kmsg.NewPtrFetchRequest()
		req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 500, 1, fetchBytes
		req.IsolationLevel = 1 // read_committed
		req.SessionEpoch = -1
		rt := kmsg.NewFetchRequestTopic()
		rt.Topic, rt.TopicID = t.name, detail.ID
		rp := kmsg.NewFetchRequestTopicPartition()
		rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes = partition, from, fetchBytes
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		resp, err := req.RequestWith(ctx, broker)
		if err != nil {
			return from, err
		}
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return from, err
		}
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
			return from, kerr.UnknownServerError
		}
		fetched, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
			Offset: from, IsolationLevel: kgo.ReadCommitted(), Topic: t.name, Partition: partition,
		}, &resp.Topics[0].Partitions[0], kgo.DefaultDecompressor(), nil)
		if fetched.Err != nil {
			return from, fetched.Err
		}
		for _, r := range fetched.Records {
			if r.Offset >= from && r.Offset < end {
				visit(r)
			}
		}
		if next <= from {
			return end, nil // an answer without batches: compaction has left nothing up to the end
		}
		from = next
	}
	return from, nil
}
