package consistency

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Record batches are read here from their bytes, one batch after the other: an audit reads every
// record, looks at it once, and mostly stops in the middle of what a fetch has brought. The
// client's own way makes a structure of each record of a fetch first, which is several times the
// memory of the records, and most of what their reading costs.

// batchReader gives the committed records of a fetch, as a read_committed consumer sees them
// (KIP-98). It belongs to one goroutine.
type batchReader struct {
	decompressor kgo.Decompressor
	buffers      *bufferPool // that of the decompressor
	names        map[string]string
	record       kgo.Record
}

// bufferPool has the buffers into which batches are decompressed.
type bufferPool struct{ pool sync.Pool }

// GetDecompressBytes implements kgo.PoolDecompressBytes.
func (p *bufferPool) GetDecompressBytes([]byte, kgo.CompressionCodecType) []byte {
	b, _ := p.pool.Get().(*[]byte)
	if b == nil {
		return nil
	}
	return *b
}

// PutDecompressBytes implements kgo.PoolDecompressBytes.
func (p *bufferPool) PutDecompressBytes(b []byte) { p.pool.Put(&b) }

// Places in a record batch.
const (
	batchLength          = 8
	batchMagic           = 16
	batchCRC             = 21 // from where on the checksum is made
	batchLastOffsetDelta = 23
	batchCount           = 57
	batchHeader          = 61
)

const (
	attributeCodec         = 0x07
	attributeTransactional = 0x10
	attributeControl       = 0x20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errDamaged = errors.New("a record batch is damaged")

// splitBatch takes the first batch from what a fetch has brought. ok is false at its end, which may
// be in the middle of a batch.
func splitBatch(in []byte) (batch, rest []byte, ok bool) {
	if len(in) <= batchMagic {
		return nil, nil, false
	}
	n := int64(int32(binary.BigEndian.Uint32(in[batchLength:]))) + batchLength + 4
	if n <= batchMagic || n > int64(len(in)) {
		return nil, nil, false
	}
	return in[:n], in[n:], true
}

// batchesEnd is the offset after the last whole batch, and how many records there are in all of
// them.
func batchesEnd(in []byte) (next int64, records int) {
	for batch, rest, ok := splitBatch(in); ok; batch, rest, ok = splitBatch(rest) {
		first := int64(binary.BigEndian.Uint64(batch))
		if batch[batchMagic] < 2 || len(batch) < batchHeader {
			next = max(next, first+1)
			continue
		}
		next = max(next, first+int64(int32(binary.BigEndian.Uint32(batch[batchLastOffsetDelta:])))+1)
		records += int(binary.BigEndian.Uint32(batch[batchCount:]))
	}
	return next, records
}

// read gives the committed records at and above from to fn, in their order. A record is valid until
// fn returns.
func (b *batchReader) read(topic string, from int64, p *kmsg.FetchResponseTopicPartition,
	fn func(*kgo.Record) error,
) error {
	b.record.Topic, b.record.Partition = topic, p.Partition
	aborted := abortedTransactions(p)
	for batch, rest, ok := splitBatch(p.RecordBatches); ok; batch, rest, ok = splitBatch(rest) {
		if batch[batchMagic] < 2 {
			continue // the formats before Kafka 0.11 have no headers: none of these records is of an outbox
		}
		if batch[batchMagic] > 2 {
			return fmt.Errorf("a record batch has format %d, this program reads formats up to 2",
				batch[batchMagic])
		}
		var rb kmsg.RecordBatch
		if err := rb.ReadFrom(batch); err != nil || rb.NumRecords < 0 {
			return errDamaged
		}
		if crc32.Checksum(batch[batchCRC:], castagnoli) != uint32(rb.CRC) {
			return fmt.Errorf("%w: its checksum is wrong", errDamaged)
		}
		dropped := aborted.has(&rb)
		switch {
		case rb.Attributes&attributeControl != 0:
			if dropped && abortMarker(rb.Records) {
				aborted.end(rb.ProducerID)
			}
			continue
		case dropped || rb.FirstOffset+int64(rb.LastOffsetDelta) < from:
			continue
		}
		if err := b.records(&rb, from, fn); err != nil {
			return err
		}
	}
	return nil
}

// records gives the records of one batch.
func (b *batchReader) records(rb *kmsg.RecordBatch, from int64, fn func(*kgo.Record) error) error {
	in := rb.Records
	if codec := kgo.CompressionCodecType(rb.Attributes & attributeCodec); codec != kgo.CodecNone {
		plain, err := b.decompressor.Decompress(in, codec)
		if err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		defer b.buffers.PutDecompressBytes(plain)
		in = plain
	}
	r := &b.record
	r.ProducerID, r.ProducerEpoch = rb.ProducerID, rb.ProducerEpoch
	for range rb.NumRecords {
		length, used := kbin.Varint(in)
		if used <= 0 || length < 0 || int(length) > len(in)-used {
			return errDamaged
		}
		body := kbin.Reader{Src: in[used : used+int(length)]}
		in = in[used+int(length):]
		body.Int8() // attributes, of which there are none
		body.Varlong()
		r.Offset = rb.FirstOffset + int64(body.Varint())
		if r.Offset < from {
			continue
		}
		r.Key, r.Value, r.Headers = body.VarintBytes(), body.VarintBytes(), r.Headers[:0]
		for range body.VarintArrayLen() {
			name := body.VarintBytes()
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: b.name(name), Value: body.VarintBytes()})
		}
		if !body.Ok() {
			return errDamaged
		}
		if err := fn(r); err != nil {
			return err
		}
	}
	if len(in) > 0 {
		return errDamaged
	}
	return nil
}

// mostNames bounds the names of headers that are remembered.
const mostNames = 1024

// name is b as a string: nearly all records have the same few names.
func (b *batchReader) name(text []byte) string {
	if s, ok := b.names[string(text)]; ok {
		return s
	}
	if b.names == nil || len(b.names) >= mostNames {
		b.names = map[string]string{}
	}
	s := string(text)
	b.names[s] = s
	return s
}

// aborted are the transactions among the records of a fetch that were aborted: by producer, the
// offsets of their first records, ascending.
type aborted map[int64][]int64

func abortedTransactions(p *kmsg.FetchResponseTopicPartition) aborted {
	a := aborted{}
	for _, t := range p.AbortedTransactions {
		a[t.ProducerID] = append(a[t.ProducerID], t.FirstOffset)
	}
	for _, offsets := range a {
		slices.Sort(offsets)
	}
	return a
}

// has reports whether a batch is of an aborted transaction, or is the marker that ends one.
func (a aborted) has(rb *kmsg.RecordBatch) bool {
	offsets := a[rb.ProducerID]
	return rb.Attributes&attributeTransactional != 0 && len(offsets) > 0 &&
		offsets[0] <= rb.FirstOffset
}

// end is told the marker of an aborted transaction: what the producer writes after it is of
// another one.
func (a aborted) end(producer int64) { a[producer] = a[producer][1:] }

// abortMarker reports whether the record of a control batch ends a transaction by aborting it: the
// key is a version and the type 0.
func abortMarker(records []byte) bool {
	_, used := kbin.Varint(records)
	if used <= 0 {
		return false
	}
	body := kbin.Reader{Src: records[used:]}
	body.Int8()
	body.Varlong()
	body.Varint()
	key := body.VarintBytes()
	return body.Ok() && len(key) >= 4 && key[2] == 0 && key[3] == 0
}
