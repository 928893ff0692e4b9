//go:build integration

package suites_test

import (
	"context"
	"fmt"
	"hash/crc32"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/internal/names"
)

// rawProducer writes transactional batches without telling the coordinator of the partitions, as
// brokers allow whose transaction.partition.verification.enable is false.
type rawProducer struct {
	ctx    context.Context
	t      *testing.T
	client *kgo.Client
	txn    string
	id     int64
	epoch  int16
	// sequence is the next sequence number of each partition.
	sequence map[string]int32
}

func newRawProducer(ctx context.Context, t *testing.T, w *testenv.Env, lane string,
	turn byte,
) *rawProducer {
	t.Helper()
	p := &rawProducer{
		ctx: ctx, t: t, sequence: map[string]int32{},
		txn: names.LaneID(w.Outbox, lane, turn),
	}
	older := kversion.Stable()
	older.SetMaxKeyVersion(kmsg.Produce.Int16(), 11) // from 12 on a request tells the coordinator
	var err error
	if p.client, err = kgo.NewClient(
		append(w.KafkaDirect(), kgo.TransactionalID(p.txn), kgo.MaxVersions(older))...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.client.Close)
	if p.id, p.epoch, err = p.client.ProducerID(ctx); err != nil {
		t.Fatal(err)
	}
	return p
}

// write appends one batch, and the marker after it unless it is to be left open.
func (p *rawProducer) write(topic string, partition int32, open, commit bool,
	records ...kmsg.Record,
) {
	p.t.Helper()
	req := kmsg.NewPtrProduceRequest()
	req.TransactionID, req.Acks, req.TimeoutMillis = &p.txn, -1, 10_000
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewProduceRequestTopicPartition()
	at := fmt.Sprint(topic, "/", partition)
	rp.Partition, rp.Records = partition, p.batch(records, p.sequence[at])
	p.sequence[at] += int32(len(records))
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	answer, err := req.RequestWith(p.ctx, p.client)
	if err == nil {
		err = kerr.ErrorForCode(answer.Topics[0].Partitions[0].ErrorCode)
	}
	if err != nil {
		p.t.Fatalf("produce to %s, partition %d: %v", topic, partition, err)
	}
	if open {
		return
	}
	markers, err := kadm.NewClient(p.client).WriteTxnMarkers(p.ctx, kadm.TxnMarkers{
		ProducerID: p.id, ProducerEpoch: p.epoch, Commit: commit,
		Topics: kadm.TopicsSet{topic: {partition: {}}},
	})
	if err == nil {
		err = markers[p.id].Topics[topic].Partitions[partition].Err
	}
	if err != nil {
		p.t.Fatalf("marker in %s, partition %d: %v", topic, partition, err)
	}
}

func (p *rawProducer) batch(records []kmsg.Record, sequence int32) []byte {
	now := time.Now().UnixMilli()
	b := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, Attributes: 1 << 4, LastOffsetDelta: int32(len(records) - 1),
		FirstTimestamp: now, MaxTimestamp: now,
		ProducerID: p.id, ProducerEpoch: p.epoch, FirstSequence: sequence,
		NumRecords: int32(len(records)),
	}
	for i, r := range records {
		r.OffsetDelta = int32(i)
		r.Length = int32(len(r.AppendTo(nil)) - 1) // without itself, one byte as long as it is 0
		b.Records = r.AppendTo(b.Records)
	}
	raw := b.AppendTo(nil)
	b.Length = int32(len(raw) - 12)
	raw = b.AppendTo(nil)
	b.CRC = int32(crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b.AppendTo(nil)
}
