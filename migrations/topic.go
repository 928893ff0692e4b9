package migrations

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/sluice-outbox/sluice/internal/retry"
)

const (
	// topicVisible is how long Apply waits until a topic that was created is seen with leaders for all
	// its partitions. Brokers learn of it one after the other, usually within milliseconds.
	topicVisible = 30 * time.Second

	// brokerAnswer is how long one broker is waited for when all are asked.
	brokerAnswer = 3 * time.Second

	firstLook, slowestLook = 20 * time.Millisecond, time.Second
)

// createTopic creates a topic. It is idempotent: one that exists is left alone, and awaitTopic
// judges it.
func (m *Migrator) createTopic(ctx context.Context, p part) error {
	settings := make(map[string]*string, len(p.topic.settings))
	for key, value := range p.topic.settings {
		settings[key] = &value
	}
	replicas := int16(-1)
	if m.cfg.ReplicationFactor > 0 {
		replicas = int16(m.cfg.ReplicationFactor)
	}
	answer, err := m.kafka.CreateTopic(ctx, int32(p.topic.partitions), replicas, settings, p.name)
	// After a time-out the controller may still create it.
	if errors.Is(err, kerr.TopicAlreadyExists) || errors.Is(err, kerr.RequestTimedOut) {
		return nil
	}
	if err != nil && answer.ErrMessage != "" {
		return fmt.Errorf("%w: %s", err, answer.ErrMessage)
	}
	return err
}

// awaitTopic waits until every broker knows a topic with all its leaders, and judges it: a topic
// that another created at the same time may have another shape. With one broker asked alone, the
// relay that starts next could ask one that still says that there is no such topic.
func (m *Migrator) awaitTopic(ctx context.Context, p part) error {
	ctx, cancel := context.WithTimeout(ctx, topicVisible)
	defer cancel()
	for wait := retry.Backoff(firstLook, slowestLook); ; {
		t, found, err := m.readTopic(ctx, p.name)
		if err != nil {
			return err
		}
		if found {
			if f := m.cfg.checkTopic(p, t, false); f != nil {
				return &RefusedError{Outbox: m.cfg.Outbox, Findings: []Finding{*f}}
			}
			known, err := m.knownEverywhere(ctx, p)
			if err != nil || known {
				return err
			}
		}
		if err := retry.Sleep(ctx, wait.NextBackOff()); err != nil {
			return fmt.Errorf("waiting until all brokers know its leaders: %w", err)
		}
	}
}

// knownEverywhere asks each broker for the topic. One that does not answer is passed over: it does
// not serve a relay either, and learns of the topic before it does again.
func (m *Migrator) knownEverywhere(ctx context.Context, p part) (bool, error) {
	brokers, err := m.kafka.ListBrokers(ctx)
	if err != nil {
		return false, err
	}
	for _, id := range brokers.NodeIDs() {
		ctx, cancel := context.WithTimeout(ctx, brokerAnswer)
		t, found, err := readPartitions(ctx, m.client.Broker(int(id)), p.name)
		cancel()
		if err == nil && (!found || t.led < p.topic.partitions) {
			return false, nil
		}
	}
	return true, nil
}
