package consistency

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

func newBatchReader() *batchReader {
	buffers := &bufferPool{}
	return &batchReader{decompressor: kgo.DefaultDecompressor(buffers), buffers: buffers}
}

// appendBatch writes records, whose offsets ascend, as a batch.
func appendBatch(dst []byte, attributes int16, producer, first int64,
	records []*kgo.Record,
) []byte {
	var body []byte
	for _, r := range records {
		one := []byte{0, 0} // attributes, delta of the time
		one = kbin.AppendVarint(one, int32(r.Offset-first))
		one = kbin.AppendVarintBytes(one, r.Key)
		one = kbin.AppendVarintBytes(one, r.Value)
		one = kbin.AppendVarint(one, int32(len(r.Headers)))
		for _, h := range r.Headers {
			one = kbin.AppendVarintString(one, h.Key)
			one = kbin.AppendVarintBytes(one, h.Value)
		}
		body = append(kbin.AppendVarint(body, int32(len(one))), one...)
	}
	if codec := kgo.CompressionCodecType(attributes & attributeCodec); codec != kgo.CodecNone {
		compressor, err := kgo.DefaultCompressor(map[kgo.CompressionCodecType]kgo.CompressionCodec{
			kgo.CodecGzip: kgo.GzipCompression(), kgo.CodecSnappy: kgo.SnappyCompression(),
			kgo.CodecLz4: kgo.Lz4Compression(), kgo.CodecZstd: kgo.ZstdCompression(),
		}[codec])
		if err != nil {
			panic(err)
		}
		var out bytes.Buffer
		compressed, _ := compressor.Compress(&out, body)
		body = slices.Clone(compressed)
	}
	last := first
	if len(records) > 0 {
		last = records[len(records)-1].Offset
	}
	rb := kmsg.RecordBatch{
		FirstOffset: first, Length: int32(batchHeader - batchLength - 4 + len(body)), Magic: 2,
		Attributes:      attributes,
		LastOffsetDelta: int32(last - first), ProducerID: producer, ProducerEpoch: 3,
		NumRecords: int32(len(records)), Records: body,
	}
	b := rb.AppendTo(nil)
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[batchCRC:], castagnoli))
	return append(dst, b...)
}

func marker(offset int64, commit bool) []*kgo.Record {
	key := []byte{0, 0, 0, 0}
	if commit {
		key[3] = 1
	}
	return []*kgo.Record{{Offset: offset, Key: key, Value: []byte{0, 0, 0, 0, 0, 0}}}
}

// fetched is a fetch of batches of some producers, of whom some write in transactions, which may be
// aborted, or open when the fetch begins.
func fetched(t *rapid.T) *kmsg.FetchResponseTopicPartition {
	p := &kmsg.FetchResponseTopicPartition{Partition: 2}
	offset := rapid.Int64Range(0, 5).Draw(t, "start")
	open := map[int64]bool{} // producers in a transaction; true: it will be aborted
	for range rapid.IntRange(0, 12).Draw(t, "batches") {
		producer := rapid.Int64Range(-1, 3).Draw(t, "producer")
		abort, within := open[producer]
		if within && rapid.IntRange(0, 2).Draw(t, "ends") == 0 {
			p.RecordBatches = appendBatch(p.RecordBatches, attributeTransactional|attributeControl, producer,
				offset, marker(offset, !abort))
			delete(open, producer)
			offset++
			continue
		}
		attributes := int16(rapid.SampledFrom([]int{0, 1, 2, 3, 4}).Draw(t, "codec"))
		if producer > 0 {
			attributes |= attributeTransactional
			if !within {
				open[producer] = rapid.Bool().Draw(t, "aborted")
				if open[producer] {
					a := kmsg.NewFetchResponseTopicPartitionAbortedTransaction()
					a.ProducerID, a.FirstOffset = producer, offset
					p.AbortedTransactions = append(p.AbortedTransactions, a)
				}
			}
		}
		first := offset
		var records []*kgo.Record
		for range rapid.IntRange(1, 4).Draw(t, "records") {
			r := &kgo.Record{
				Offset: offset,
				Key:    rapid.SampledFrom([][]byte{nil, {}, []byte("key")}).Draw(t, "key"),
				Value:  rapid.SampledFrom([][]byte{nil, {}, []byte("value")}).Draw(t, "value"),
			}
			for range rapid.IntRange(0, 3).Draw(t, "headers") {
				r.Headers = append(r.Headers,
					kgo.RecordHeader{
						Key:   rapid.SampledFrom([]string{"", "id", "type"}).Draw(t, "name"),
						Value: rapid.SampledFrom([][]byte{nil, {}, []byte("x")}).Draw(t, "header"),
					})
			}
			records = append(records, r)
			offset += rapid.Int64Range(1, 3).Draw(t, "gap") // as in a compacted topic
		}
		p.RecordBatches = appendBatch(p.RecordBatches, attributes, producer, first, records)
	}
	// The order of aborted transactions is the broker's affair.
	if rapid.Bool().Draw(t, "reversed") {
		slices.Reverse(p.AbortedTransactions)
	}
	p.RecordBatches = p.RecordBatches[:len(p.RecordBatches)-rapid.IntRange(0,
		min(20, len(p.RecordBatches))).Draw(t, "cut")]
	return p
}

// TestBatchesAsTheClientReadsThem holds the own reading of record batches against that of the
// client.
func TestBatchesAsTheClientReadsThem(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := fetched(t)
		from := int64(0)
		// a broker begins with the batch in which the offset is
		if first, _, ok := splitBatch(p.RecordBatches); ok {
			begin := int64(binary.BigEndian.Uint64(first))
			from = begin + rapid.Int64Range(0,
				int64(binary.BigEndian.Uint32(first[batchLastOffsetDelta:]))).Draw(t, "from")
		}
		type seen struct {
			Offset, Producer int64
			Epoch            int16
			Topic            string
			Partition        int32
			Key, Value       []byte
			Headers          []kgo.RecordHeader
		}
		see := func(r *kgo.Record) seen {
			s := seen{
				r.Offset, r.ProducerID, r.ProducerEpoch, r.Topic, r.Partition, slices.Clone(r.Key),
				slices.Clone(r.Value), nil,
			}
			for _, h := range r.Headers {
				s.Headers = append(s.Headers, kgo.RecordHeader{Key: h.Key, Value: slices.Clone(h.Value)})
			}
			return s
		}
		var got, want []seen
		if err := newBatchReader().read("t", from, p, func(r *kgo.Record) error {
			got = append(got, see(r))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		client, next := kgo.ProcessFetchPartition(
			kgo.ProcessFetchPartitionOpts{
				Offset: from, IsolationLevel: kgo.ReadCommitted(), Topic: "t",
				Partition: 2,
			}, p, kgo.DefaultDecompressor(), nil)
		if client.Err != nil {
			t.Fatal(client.Err)
		}
		for _, r := range client.Records {
			want = append(want, see(r))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
		if end, records := batchesEnd(p.RecordBatches); max(end, from) != next || records < len(got) {
			t.Fatalf("the next offset is %d, the client's %d; %d records of %d", end, next, len(got),
				records)
		}
	})
}

func TestDamagedBatches(t *testing.T) {
	t.Parallel()
	whole := appendBatch(nil, 0, 1, 0,
		[]*kgo.Record{{
			Key: []byte("k"), Value: []byte("v"),
			Headers: []kgo.RecordHeader{{Key: "id", Value: []byte("e")}},
		}})
	read := func(b []byte) (n int, err error) {
		err = newBatchReader().read("t", 0, &kmsg.FetchResponseTopicPartition{RecordBatches: b},
			func(*kgo.Record) error {
				n++
				return nil
			})
		return n, err
	}
	if n, err := read(whole); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	for i := batchMagic; i < len(whole); i++ {
		b := slices.Clone(whole)
		b[i] ^= 0x41
		if n, err := read(b); err == nil || n > 0 {
			t.Errorf("byte %d changed: %d records, %v", i, n, err)
		}
	}
	// A count that is wrong under a right checksum.
	for _, count := range []byte{0, 2} {
		b := slices.Clone(whole)
		b[batchCount+3] = count
		binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[batchCRC:], castagnoli))
		if _, err := read(b); !errors.Is(err, errDamaged) {
			t.Errorf("%d records said: %v", count, err)
		}
	}
	for i := range whole {
		if n, err := read(whole[:i]); n != 0 || err != nil {
			t.Errorf("cut at %d: %d records, %v", i, n, err)
		}
	}
	if next, records := batchesEnd(append(whole, whole[:20]...)); next != 1 || records != 1 {
		t.Errorf("next %d, %d records", next, records)
	}
}

func FuzzBatches(f *testing.F) {
	f.Add(appendBatch(nil, 2, 1, 0,
		[]*kgo.Record{{Key: []byte("k"), Headers: []kgo.RecordHeader{{Key: "id"}}}}))
	f.Add(appendBatch(nil, attributeTransactional|attributeControl, 1, 0, marker(0, false)))
	f.Fuzz(func(_ *testing.T, b []byte) {
		if len(b) >= batchHeader { // with a right checksum, so that more than this is reached
			if batch, _, ok := splitBatch(b); ok && len(batch) >= batchHeader {
				binary.BigEndian.PutUint32(batch[17:], crc32.Checksum(batch[batchCRC:], castagnoli))
			}
		}
		a := kmsg.NewFetchResponseTopicPartitionAbortedTransaction()
		a.ProducerID = 1
		p := &kmsg.FetchResponseTopicPartition{
			RecordBatches:       b,
			AbortedTransactions: []kmsg.FetchResponseTopicPartitionAbortedTransaction{a},
		}
		_ = newBatchReader().read("t", 0, p, func(*kgo.Record) error { return nil })
		batchesEnd(b)
	})
}

// eventBatch is a batch of n records as the relay writes them.
func eventBatch(n int) []byte {
	var records []*kgo.Record
	for i := range n {
		r := rawRecord(0, EntryID{MS: 1700000000000, Seq: uint64(i)},
			fmt.Sprintf("01890000-0000-7000-8000-%012d", i), "OrderPlaced", fmt.Sprint("order-", i%1000),
			string(make([]byte, 200)))
		r.Offset = int64(i)
		records = append(records, r)
	}
	return appendBatch(nil, int16(kgo.CodecSnappy), 1, 0, records)
}

func BenchmarkBatches(b *testing.B) {
	const n = 1000
	p := &kmsg.FetchResponseTopicPartition{RecordBatches: eventBatch(n)}
	b.Run("own", func(b *testing.B) {
		r := newBatchReader()
		b.ReportAllocs()
		for range b.N {
			if err := r.read("t", 0, p, func(*kgo.Record) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
	})
	b.Run("client", func(b *testing.B) {
		b.ReportAllocs()
		d := kgo.DefaultDecompressor()
		for range b.N {
			got, _ := kgo.ProcessFetchPartition(
				kgo.ProcessFetchPartitionOpts{IsolationLevel: kgo.ReadCommitted()}, p, d, nil)
			if len(got.Records) != n {
				b.Fatal(got.Err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
	})
}
