package consistency

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/internal/kafkalog"
	"github.com/sluice-outbox/sluice/internal/names"
)

const (
	fetchBytes       = 1 << 20
	gentleFetchBytes = 256 << 10
	fetchPause       = 250 * time.Millisecond // after a failure, doubled by each further one
	mostPause        = 4 * time.Second
	patience         = 20 * time.Second // how long fetches may fail in a row
)

// kafkaLogs reads topics as a read_committed consumer does. Fetches are explicit: a consumer does not say that it has come to the
// end of a partition whose end is markers of transactions, and an audit has to know.
type kafkaLogs struct {
	client *kgo.Client
	admin  *kadm.Client
	outbox string
	pace   *pace

	buffers      *bufferPool
	decompressor kgo.Decompressor

	mu      sync.Mutex
	leaders map[string]kadm.TopicDetail
}

func newKafkaLogs(client *kgo.Client, name string, p *pace) *kafkaLogs {
	buffers := &bufferPool{}
	return &kafkaLogs{
		client: client, admin: kadm.NewClient(client), outbox: name, pace: p,
		buffers: buffers, decompressor: kgo.DefaultDecompressor(buffers), leaders: map[string]kadm.TopicDetail{},
	}
}

func (k *kafkaLogs) topics(ctx context.Context, names, patterns []string) ([]topic, error) {
	described := kadm.TopicDetails{}
	if len(patterns) > 0 {
		all, err := k.admin.ListTopics(ctx)
		if err != nil {
			return nil, fmt.Errorf("kafka: list topics: %w", err)
		}
		for name, d := range all {
			for _, p := range patterns {
				if ok, _ := path.Match(p, name); ok && !slices.Contains(names, name) {
					described[name] = d
				}
			}
		}
	}
	if len(names) > 0 {
		named, err := k.describe(ctx, names)
		if err != nil {
			return nil, fmt.Errorf("kafka: describe topics: %w", err)
		}
		for name, d := range named {
			described[name] = d
		}
	}
	out := make([]topic, 0, len(described))
	for _, d := range described.Sorted() {
		t := topic{name: d.Topic, id: d.ID.String(), partitions: len(d.Partitions)}
		switch {
		case errors.Is(d.Err, kerr.UnknownTopicOrPartition):
			t.problem = "it does not exist: it was deleted, or never made"
		case errors.Is(d.Err, kerr.TopicAuthorizationFailed):
			t.problem, t.hidden = "this client may not read it (topic authorization failed)", true
		case d.Err != nil:
			return nil, fmt.Errorf("kafka: topic %s: %w", d.Topic, d.Err)
		}
		k.mu.Lock()
		k.leaders[d.Topic] = d
		k.mu.Unlock()
		out = append(out, t)
	}
	return out, nil
}

// describe asks for topics by name. One that may not be seen fails the request for all: then each is asked for alone.
func (k *kafkaLogs) describe(ctx context.Context, names []string) (kadm.TopicDetails, error) {
	details, err := k.admin.ListTopics(ctx, names...)
	var forbidden *kadm.AuthError
	if !errors.As(err, &forbidden) {
		return details, err
	}
	if len(names) == 1 {
		return kadm.TopicDetails{names[0]: {Topic: names[0], Err: forbidden.Err}}, nil
	}
	details = kadm.TopicDetails{}
	for _, name := range names {
		one, err := k.describe(ctx, []string{name})
		if err != nil {
			return nil, err
		}
		details[name] = one[name]
	}
	return details, nil
}

func (k *kafkaLogs) bounds(ctx context.Context, names []string) (map[string][]bounds, error) {
	out := map[string][]bounds{}
	if len(names) == 0 {
		return out, nil
	}
	starts, err := k.admin.ListStartOffsets(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("kafka: list offsets: %w", err)
	}
	ends, err := k.admin.ListCommittedOffsets(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("kafka: list offsets: %w", err)
	}
	highs, err := k.admin.ListEndOffsets(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("kafka: list offsets: %w", err)
	}
	for _, name := range names {
		b := make([]bounds, len(ends[name]))
		for number, end := range ends[name] {
			start, ok := starts.Lookup(name, number)
			high, known := highs.Lookup(name, number)
			if err := errors.Join(end.Err, start.Err, high.Err); err != nil || !ok || !known || int(number) >= len(b) {
				return nil, fmt.Errorf("kafka: offsets of topic %s, partition %d: %w", name, number, err)
			}
			b[number] = bounds{start.Offset, end.Offset, high.Offset}
		}
		out[name] = b
	}
	return out, nil
}

func (k *kafkaLogs) read(ctx context.Context, name string, partition int32, from, to int64, fn func(*kgo.Record) error) error {
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
			return false, fmt.Errorf("the broker has nothing at offset %d, before the end %d that it has named", at, to)
		}
		at = p.next
		return at < to, nil
	}
	batches := batchReader{decompressor: k.decompressor, buffers: k.buffers}
	return inPieces(ctx, k.pace, get, func(p *piece) error {
		if err := k.pace.take(ctx, p.records); err != nil {
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
func (k *kafkaLogs) persist(ctx context.Context, name string, partition int32, from, to int64) (*kmsg.FetchResponseTopicPartition, error) {
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
		return ke.Retriable && !errors.Is(err, kerr.UnknownTopicOrPartition) && !errors.Is(err, kerr.UnknownTopicID)
	}
	return true
}

// forget asks again who leads a topic's partitions. What fails is found by the next fetch.
func (k *kafkaLogs) forget(ctx context.Context, name string) {
	if details, err := k.admin.ListTopics(ctx, name); err == nil && details[name].Err == nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		// A topic that was made again is another one: its ID stays the old one, and the fetch fails.
		d := details[name]
		if old, ok := k.leaders[name]; ok {
			d.ID = old.ID
		}
		k.leaders[name] = d
	}
}

// fetch reads one piece of a partition, about as much as stands before to.
func (k *kafkaLogs) fetch(ctx context.Context, name string, partition int32, from, to int64) (*kmsg.FetchResponseTopicPartition, error) {
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
	if k.pace.gentle() {
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

// position reads the last committed position of a shard from the topic in which the relay keeps it. It is not older than the
// call: a leader that was deposed and does not know it is not believed.
func (k *kafkaLogs) position(ctx context.Context, shard int) (EntryID, error) {
	name := names.PositionsTopic(k.outbox)
	found, err := kafkalog.Leaders(ctx, k.client, name)
	if err != nil {
		return EntryID{}, err
	}
	if found[name] == nil || shard >= len(found[name].Partitions) {
		return EntryID{}, nil
	}
	log, err := kafkalog.Open(k.client, found[name], shard, kgo.ReadCommitted())
	if err != nil {
		return EntryID{}, fmt.Errorf("kafka: %w", err)
	}
	key := k.outbox + "/" + strconv.Itoa(shard)
	last, err := log.Last(ctx, func(r *kgo.Record) bool { return string(r.Key) == key })
	if err != nil || last == nil || last.Value == nil {
		return EntryID{}, err
	}
	var record struct {
		V        int `json:"v"`
		Position struct {
			Entry EntryID `json:"entry"`
		} `json:"position"`
	}
	err = json.Unmarshal(last.Value, &record)
	if err == nil && record.V != 2 {
		err = fmt.Errorf("version %d, this audit knows 2", record.V)
	}
	if err != nil {
		return EntryID{}, fmt.Errorf("topic %s, partition %d: position: %w", name, shard, err)
	}
	return record.Position.Entry, nil
}

func (k *kafkaLogs) losesRecords(ctx context.Context, name string) (string, error) {
	configs, err := k.admin.DescribeTopicConfigs(ctx, name)
	if err != nil {
		return "", fmt.Errorf("kafka: describe topic %s: %w", name, err)
	}
	c, err := configs.On(name, nil)
	if err != nil || c.Err != nil {
		return "", nil // without the permission to ask, what is missing counts as lost
	}
	for _, x := range c.Configs {
		if x.Key == "cleanup.policy" && strings.Contains(x.MaybeValue(), "compact") {
			return "is compacted: later records of the key replace earlier ones", nil
		}
	}
	return "", nil
}
