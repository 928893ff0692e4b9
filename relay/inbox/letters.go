package inbox

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/kafkalog"
	"github.com/sluice-outbox/sluice/internal/retry"
	"github.com/sluice-outbox/sluice/outbox"
)

// letterTimeout bounds how long Kafka may take to confirm a dead letter.
const letterTimeout = 30 * time.Second

// letterbox is the dead-letter topic. It may be shared with other inboxes, and with outboxes.
type letterbox struct {
	client *kgo.Client
	inbox  string
	topic  string

	partitions atomic.Int32 // 0: not known
}

// ensure finds the topic, or makes it: compacted, with the broker's replication.
func (b *letterbox) ensure(ctx context.Context) error {
	t, err := b.find(ctx)
	if err != nil || t != nil {
		return err
	}
	compact := "compact"
	_, err = kadm.NewClient(b.client).CreateTopic(ctx, 1, -1,
		map[string]*string{"cleanup.policy": &compact}, b.topic)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("kafka: create the dead-letter topic %s: %w", b.topic, err)
	}
	for wait := 5 * time.Millisecond; wait < 2*time.Second; wait *= 2 {
		if t, err := b.find(ctx); err != nil || t != nil {
			return err
		}
		_ = retry.Sleep(ctx, wait)
	}
	return fmt.Errorf("kafka: the dead-letter topic %s was created and cannot be seen yet", b.topic)
}

func (b *letterbox) find(ctx context.Context) (*kafkalog.Topic, error) {
	found, err := kafkalog.Leaders(ctx, b.client, b.topic)
	if err != nil {
		return nil, err
	}
	t := found[b.topic]
	switch {
	case t == nil:
		return nil, nil
	case t.Err != nil:
		return nil, fmt.Errorf("kafka: topic %s: %w", b.topic, t.Err)
	}
	b.partitions.Store(int32(len(t.Partitions)))
	return t, nil
}

// send has Kafka confirm letters.
func (b *letterbox) send(ctx context.Context, id TopicID, letters []*letter) error {
	var records []*kgo.Record
	for _, l := range letters {
		records = append(records, l.records(b.inbox, b.topic, id)...)
	}
	return b.produce(ctx, records)
}

func (b *letterbox) produce(ctx context.Context, records []*kgo.Record) error {
	if len(records) == 0 {
		return nil
	}
	n := int(b.partitions.Load())
	if n == 0 {
		if err := b.ensure(ctx); err != nil {
			return err
		}
		n = int(b.partitions.Load())
	}
	for _, r := range records {
		if r.Value != nil { // a tombstone knows where its letter is
			r.Partition = int32(outbox.Partition(r.Key, n))
		}
	}
	if err := b.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("kafka: dead letters to topic %s: %w", b.topic, err)
	}
	return nil
}

// drop ends letters: a tombstone for each of their chunks, the first chunk's last, since the letter
// is seen while that one stands.
func (b *letterbox) drop(ctx context.Context, letters []*Letter) error {
	var later, first []*kgo.Record
	for _, l := range letters {
		for _, c := range l.at {
			key := letterKey(b.inbox, l.Topic, l.TopicID, l.Partition, l.Offset)
			if c.number == 0 {
				first = append(first, &kgo.Record{Topic: b.topic, Partition: c.partition, Key: []byte(key)})
			} else {
				later = append(later, &kgo.Record{
					Topic: b.topic, Partition: c.partition,
					Key: []byte(key + "#" + strconv.Itoa(c.number)),
				})
			}
		}
	}
	return errors.Join(b.produce(ctx, later), b.produce(ctx, first))
}

// read gives the letters of this inbox that stand in the topic now, by partition and offset. keep
// says which of them are to have their values.
func (b *letterbox) read(ctx context.Context, keep func(*Letter) bool) ([]*Letter, error) {
	t, err := b.find(ctx)
	if err != nil || t == nil {
		return nil, err
	}
	found := map[string]*Letter{}
	for i := range t.Partitions {
		log, err := kafkalog.Open(b.client, t, i, kgo.ReadCommitted())
		if err != nil {
			return nil, err
		}
		if _, err := log.Scan(ctx, 0, func(r *kgo.Record) { b.collect(found, r, keep) }); err != nil {
			return nil, err
		}
	}
	letters := make([]*Letter, 0, len(found))
	for _, l := range found {
		l.Missing = l.chunks - len(l.at)
		letters = append(letters, l)
	}
	slices.SortFunc(letters, func(a, b *Letter) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), bytes.Compare(a.TopicID[:], b.TopicID[:]),
			cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return letters, nil
}

// collect takes one record of the topic: the latest of a key counts, and none is left after a
// tombstone.
func (b *letterbox) collect(found map[string]*Letter, r *kgo.Record, keep func(*Letter) bool) {
	inbox, l, chunk, ok := parseLetterKey(r.Key)
	if !ok || inbox != b.inbox {
		return
	}
	key := letterKey(inbox, l.Topic, l.TopicID, l.Partition, l.Offset)
	known := found[key]
	if known != nil {
		known.at = slices.DeleteFunc(known.at, func(c chunkPlace) bool {
			if c.number == chunk {
				known.Bytes -= c.bytes
			}
			return c.number == chunk
		})
	}
	if r.Value == nil {
		if known != nil && len(known.at) == 0 {
			delete(found, key)
		}
		return
	}
	if known == nil {
		known = &l
		found[key] = known
	}
	known.describe(r)
	c := chunkPlace{number: chunk, partition: r.Partition, bytes: len(r.Value)}
	if keep(known) {
		c.value = bytes.Clone(r.Value)
	}
	known.at = append(known.at, c)
	known.Bytes += len(r.Value)
}

func (l *Letter) describe(r *kgo.Record) {
	l.At, l.chunks, l.Parked, l.HasKey, l.Key = r.Timestamp.UTC(), 1, false, false, ""
	for _, h := range r.Headers {
		switch value := string(h.Value); h.Key {
		case "sluice-reason":
			l.Reason = Reason(value)
		case "sluice-detail":
			l.Detail = value
		case "sluice-key":
			l.Key, l.HasKey = value, true
		case "sluice-parked":
			l.Parked = true
		case "sluice-chunks":
			if n, err := strconv.Atoi(value); err == nil && n > 0 {
				l.chunks = n
			}
		}
	}
}

// load gives the record of a letter that was read with its values.
func (l *Letter) load() (*kgo.Record, error) {
	if l.Missing > 0 {
		return nil, fmt.Errorf("%d of %d chunks of dead letter %s are gone: it can only be dropped",
			l.Missing, l.chunks, l.Ref())
	}
	slices.SortFunc(l.at, func(a, b chunkPlace) int { return cmp.Compare(a.number, b.number) })
	var value []byte
	for _, c := range l.at {
		value = append(value, c.value...)
	}
	r, err := decodeRecord(value)
	if err == nil && (r.Topic != l.Topic || r.Partition != l.Partition || r.Offset != l.Offset) {
		err = errors.New("its value is another record")
	}
	if err != nil {
		return nil, fmt.Errorf("dead letter %s: %w", l.Ref(), err)
	}
	return r, nil
}
