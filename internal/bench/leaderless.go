package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/internal/retry"
)

// leaderless makes a topic of one partition that has no leader and will not get one: its only copy
// is on the second broker, which is stopped. What is made afterwards is on the first, so that
// nothing else misses the second. It takes servers that were started with Options.spare.
func (s *backends) leaderless(ctx context.Context, topic string) error {
	spare := s.started.Brokers[1]
	req := kmsg.NewPtrCreateTopicsRequest()
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = topic, -1, -1
	a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
	a.Replicas = []int32{int32(spare.ID)}
	t.ReplicaAssignment = append(t.ReplicaAssignment, a)
	req.Topics = append(req.Topics, t)
	answer, err := req.RequestWith(ctx, s.kafka)
	if err == nil {
		err = kerr.ErrorForCode(answer.Topics[0].ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("kafka: create %s: %w", topic, err)
	}
	if err := spare.Kill(); err != nil {
		return err
	}
	for {
		has, err := s.hasLeader(ctx, topic)
		if err != nil || !has {
			return err
		}
		if !retry.Until(ctx, time.Now().Add(100*time.Millisecond)) {
			return fmt.Errorf("kafka: %s still has a leader: %w", topic, ctx.Err())
		}
	}
}

// hasLeader asks a broker whether the first partition of a topic has a leader. The client would
// answer from its cache.
func (s *backends) hasLeader(ctx context.Context, topic string) (bool, error) {
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &topic
	req.Topics = append(req.Topics, t)
	answer, err := req.RequestWith(ctx, s.kafka)
	if err != nil {
		return false, fmt.Errorf("kafka: metadata of %s: %w", topic, err)
	}
	if len(answer.Topics) != 1 || len(answer.Topics[0].Partitions) != 1 {
		return false, fmt.Errorf("kafka: %s is not there any more", topic)
	}
	return answer.Topics[0].Partitions[0].Leader >= 0, nil
}
