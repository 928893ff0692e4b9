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

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/kafkalog"
	"github.com/sluice-outbox/sluice/internal/names"
)

// kafkaLogs reads topics as a read_committed consumer does. Fetches are explicit: a consumer does
// not say that it has come to the end of a partition whose end is markers of transactions, and an
// audit has to know.
type kafkaLogs struct {
	client   *kgo.Client
	admin    *kadm.Client
	outbox   string
	throttle *throttle

	buffers      *bufferPool
	decompressor kgo.Decompressor

	mu      sync.Mutex
	leaders map[string]kadm.TopicDetail
}

func newKafkaLogs(client *kgo.Client, name string, limit *throttle) *kafkaLogs {
	buffers := &bufferPool{}
	return &kafkaLogs{
		client: client, admin: kadm.NewClient(client), outbox: name, throttle: limit,
		buffers: buffers, decompressor: kgo.DefaultDecompressor(buffers),
		leaders: map[string]kadm.TopicDetail{},
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

// describe asks for topics by name. One that may not be seen fails the request for all: then each
// is asked for alone.
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
			if err := errors.Join(end.Err, start.Err, high.Err); err != nil || !ok || !known ||
				int(number) >= len(b) {
				return nil, fmt.Errorf("kafka: offsets of topic %s, partition %d: %w", name, number, err)
			}
			b[number] = bounds{start.Offset, end.Offset, high.Offset}
		}
		out[name] = b
	}
	return out, nil
}

// position reads the last committed position of a shard from the topic in which the relay keeps it.
// It is not older than the call: a leader that was deposed and does not know it is not believed.
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
			Entry string `json:"entry"`
		} `json:"position"`
	}
	err = json.Unmarshal(last.Value, &record)
	if err == nil && record.V != 2 {
		err = fmt.Errorf("version %d, this audit knows 2", record.V)
	}
	var entry EntryID
	if err == nil {
		entry, err = parseEntryID([]byte(record.Position.Entry))
	}
	if err != nil {
		return EntryID{}, fmt.Errorf("topic %s, partition %d: position: %w", name, shard, err)
	}
	return entry, nil
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
