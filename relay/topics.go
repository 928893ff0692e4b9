package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/kafkalog"
	"github.com/sluice-outbox/sluice/internal/retry"
)

// defaultMaxMessageBytes is the broker's default for max.message.bytes. The relay assumes it if it
// may not read the topic's configuration.
const defaultMaxMessageBytes = 1048588

const (
	topicTTL    = time.Minute     // how long what is known of a topic is believed
	absentTTL   = 2 * time.Second // how long a topic is believed not to exist
	topicsKnown = 4096            // bound of the cache
)

// topics knows which topics exist and how large their records may be. All shards of a relay share
// it.
type topics struct {
	client *kgo.Client
	admin  *kadm.Client
	policy Topics
	shards func() int
	log    *slog.Logger

	mu    sync.Mutex
	known map[string]topicInfo
}

type topicInfo struct {
	exists     bool
	maxBytes   int
	id         kadm.TopicID
	partitions int
	until      time.Time
}

func newTopics(client *kgo.Client, policy Topics, shards func() int, log *slog.Logger) *topics {
	return &topics{
		client: client, admin: kadm.NewClient(client), policy: policy, shards: shards,
		log: log, known: map[string]topicInfo{},
	}
}

var (
	// errNoTopic: the topic does not exist and the policy does not create it.
	errNoTopic = errors.New("topic does not exist")
	// errBadTopic: the broker says that it is not the name of a topic.
	errBadTopic = errors.New("broker refuses the topic's name")
)

// topicChangeError is a topic that is not what it was when this relay first used it.
type topicChangeError struct{ text string }

func (e *topicChangeError) Error() string { return e.text }

// info is what is known of a topic. The error is errNoTopic if the topic does not exist and is not
// to be created, errBadTopic, or a *topicChangeError. Any other means that Kafka could not be
// asked.
func (t *topics) info(ctx context.Context, topic string) (topicInfo, error) {
	t.mu.Lock()
	info, ok := t.known[topic]
	t.mu.Unlock()
	if !ok || time.Now().After(info.until) {
		fresh, err := t.look(ctx, topic)
		if err != nil {
			return fresh, err
		}
		if err := t.compare(topic, info, fresh); err != nil {
			return fresh, err
		}
		info = fresh
		t.remember(topic, info)
	}
	if !info.exists {
		return info, errNoTopic
	}
	return info, nil
}

// limit is what is known of the topic's max.message.bytes without asking: for the producer, which
// sizes batches by it.
func (t *topics) limit(topic string) int32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if info, ok := t.known[topic]; ok && info.exists {
		return int32(min(max(info.maxBytes, 512), 64<<20))
	}
	return 1_000_012
}

// names are the topics that exist, of those to which a record was to be sent.
func (t *topics) names() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	names := make([]string, 0, len(t.known))
	for name, info := range t.known {
		if info.exists {
			names = append(names, name)
		}
	}
	return names
}

// compare notices a topic that was deleted and created again, or given partitions, and halts or
// goes on by policy.
func (t *topics) compare(topic string, was, is topicInfo) error {
	if !was.exists || !is.exists {
		return nil
	}
	var text string
	switch {
	case was.id != is.id && was.id != (kadm.TopicID{}) && is.id != (kadm.TopicID{}):
		text = fmt.Sprintf(
			"topic %s was deleted and created again: what was delivered to the old one is not in the new "+
				"one", topic)
	case was.partitions != is.partitions:
		text = fmt.Sprintf(
			"topic %s has %d partitions now, it had %d: keys move to other partitions, and the order of "+
				"a key's events is not kept across the change", topic, is.partitions, was.partitions)
	default:
		return nil
	}
	if t.policy.OnChanged == TopicChangeContinue {
		t.log.Warn("topic changed, going on by policy", "topic", topic, "change", text)
		return nil
	}
	return &topicChangeError{text +
		"; to accept it restart the relay, or set Config.Topics.OnChanged to continue"}
}

// forget makes the next question about the topic go to Kafka. What the topic was is kept for
// compare.
func (t *topics) forget(topic string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if info, ok := t.known[topic]; ok {
		info.until = time.Time{}
		t.known[topic] = info
	}
}

func (t *topics) remember(topic string, info topicInfo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.known) >= topicsKnown {
		clear(t.known)
	}
	t.known[topic] = info
}

func (t *topics) look(ctx context.Context, topic string) (topicInfo, error) {
	detail, err := t.describe(ctx, topic)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		if t.policy.OnUnknown != UnknownTopicCreate {
			return topicInfo{until: time.Now().Add(absentTTL)}, nil
		}
		if err := t.create(ctx, topic); err != nil {
			return topicInfo{}, err
		}
		// The broker that answers may not have heard of it yet.
		wait := retry.Backoff(5*time.Millisecond, time.Second)
		for began := time.Now(); time.Since(began) < absentTTL; {
			if detail, err = t.describe(ctx, topic); !errors.Is(err, kerr.UnknownTopicOrPartition) {
				break
			}
			_ = retry.Sleep(ctx, wait.NextBackOff())
		}
	}
	if errors.Is(err, kerr.InvalidTopicException) {
		return topicInfo{}, errBadTopic
	}
	if err != nil {
		return topicInfo{}, fmt.Errorf("kafka: metadata of topic %s: %w", topic, err)
	}
	info := topicInfo{
		exists: true, maxBytes: defaultMaxMessageBytes, id: detail.ID, partitions: len(detail.Partitions),
		until: time.Now().Add(topicTTL),
	}
	configs, err := t.admin.DescribeTopicConfigs(ctx, topic)
	var denied *kadm.AuthError
	if err != nil && !errors.As(err, &denied) { // may not be read: the default is a good guess
		return topicInfo{}, fmt.Errorf("kafka: configuration of topic %s: %w", topic, err)
	}
	for _, c := range configs {
		for _, kv := range c.Configs {
			if kv.Key == "max.message.bytes" && kv.Value != nil {
				if n, err := strconv.Atoi(*kv.Value); err == nil {
					info.maxBytes = n
				}
			}
		}
	}
	return info, nil
}

// describe asks all brokers: one that lags does not know a topic that was just created.
func (t *topics) describe(ctx context.Context, topic string) (*kafkalog.Topic, error) {
	found, err := kafkalog.Leaders(ctx, t.client, topic)
	if err != nil {
		return nil, err
	}
	if found[topic] == nil {
		return nil, kerr.UnknownTopicOrPartition
	}
	return found[topic], found[topic].Err
}

func (t *topics) create(ctx context.Context, topic string) error {
	partitions, factor := t.policy.Partitions, t.policy.ReplicationFactor
	if partitions == 0 {
		partitions = t.shards()
	}
	if factor == 0 {
		factor = -1 // the broker's default
	}
	_, err := t.admin.CreateTopic(ctx, int32(partitions), int16(factor), nil, topic)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("kafka: create topic %s: %w", topic, err)
	}
	return nil
}
