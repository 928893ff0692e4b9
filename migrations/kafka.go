package migrations

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// observeKafka adds to o what the brokers and the topics of the wanted layout look like.
func (m *Migrator) observeKafka(ctx context.Context, o *observed, wanted []part) error {
	lacking, err := m.lackTransactions(ctx)
	if err != nil {
		return fmt.Errorf("migrations: asking Kafka what it supports: %w", err)
	}
	o.kafka.noTransactions = lacking
	if lacking != "" {
		return nil
	}
	o.topics = make(map[string]topicState)
	for _, p := range wanted {
		if p.kind != KindTopic {
			continue
		}
		t, found, err := m.readTopic(ctx, p.name)
		if err != nil {
			return fmt.Errorf("migrations: reading topic %s: %w", p.name, err)
		}
		if !found {
			continue
		}
		// Whether it has records matters only before the layout exists: see Config.AdoptPositions.
		if p.topic.positions && !o.layout.exists {
			ends, err := m.kafka.ListEndOffsets(ctx, p.name)
			if err = errors.Join(err, ends.Error()); err != nil {
				return fmt.Errorf("migrations: reading the end of topic %s: %w", p.name, err)
			}
			ends.Each(func(end kadm.ListedOffset) { t.records = t.records || end.Offset > 0 })
		}
		o.topics[p.name] = t
	}
	return nil
}

// lackTransactions returns the first broker that does not offer what an exactly-once relay needs,
// or "". A broker that is down is not asked: the others speak for the cluster, and at least one
// must answer.
func (m *Migrator) lackTransactions(ctx context.Context) (string, error) {
	brokers, err := m.kafka.ApiVersions(ctx)
	if err != nil {
		return "", err
	}
	var silent error
	answered := false
	for _, broker := range brokers.Sorted() {
		if broker.Err != nil {
			silent = broker.Err
			continue
		}
		answered = true
		for _, key := range []kmsg.Key{kmsg.InitProducerID, kmsg.AddPartitionsToTxn, kmsg.EndTxn} {
			if _, ok := broker.KeyMaxVersion(key.Int16()); !ok {
				return fmt.Sprintf("broker %d (%s)", broker.NodeID, broker.VersionGuess()), nil
			}
		}
	}
	if !answered {
		return "", fmt.Errorf("no broker answered: %w", silent)
	}
	return "", nil
}

// readTopic reads a topic's partitions and settings; found is false if it does not exist.
func (m *Migrator) readTopic(ctx context.Context,
	name string,
) (t topicState, found bool, err error) {
	t, found, err = readPartitions(ctx, m.client, name)
	if err != nil || !found {
		return t, found, err
	}
	configs, err := m.kafka.DescribeTopicConfigs(ctx, name)
	if err != nil {
		return t, false, fmt.Errorf("its settings: %w", err)
	}
	settings, err := configs.On(name, nil)
	if err == nil {
		err = settings.Err
	}
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		// Just created or just deleted, and this broker knows it otherwise than the one before.
		return t, false, nil
	}
	if err != nil {
		return t, false, fmt.Errorf("its settings: %w", err)
	}
	for _, c := range settings.Configs {
		switch c.Key {
		case "cleanup.policy":
			t.policy = c.MaybeValue()
		case "max.message.bytes":
			t.maxMessage, _ = strconv.Atoi(c.MaybeValue())
		}
	}
	return t, true, nil
}

// readPartitions asks a broker, any if it is given the whole client, for a topic's partitions. The
// request is made by hand because kadm answers from the client's cache, where a topic created or
// deleted a moment ago is up to five seconds late.
func readPartitions(ctx context.Context, broker kmsg.Requestor,
	name string,
) (t topicState, found bool, err error) {
	request := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = &name
	request.Topics = append(request.Topics, topic)
	reply, err := request.RequestWith(ctx, broker)
	if err != nil {
		return t, false, err
	}
	if len(reply.Topics) != 1 {
		return t, false, fmt.Errorf("%d topics were described instead of one", len(reply.Topics))
	}
	err = kerr.ErrorForCode(reply.Topics[0].ErrorCode)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return t, false, nil
	}
	if err != nil {
		return t, false, err
	}
	t.partitions = len(reply.Topics[0].Partitions)
	for _, p := range reply.Topics[0].Partitions {
		if p.ErrorCode == 0 && p.Leader >= 0 {
			t.led++
		}
	}
	return t, true, nil
}
