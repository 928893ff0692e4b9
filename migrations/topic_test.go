package migrations

import (
	"errors"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/internal/names"
)

// Brokers learn late of a new topic and of its leaders. Until all are seen the version is not
// recorded.
func TestAwaitsTopics(t *testing.T) {
	cluster, s := scriptable(t)
	positions := names.PositionsTopic(orders.Outbox)
	m := s.migrator(t, orders)
	plan, err := m.Plan(testContext(t), 0)
	if err != nil {
		t.Fatal(err)
	}

	looks := 0
	cluster.ControlKey(kmsg.Metadata.Int16(), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		topics := request.(*kmsg.MetadataRequest).Topics
		if len(topics) != 1 || *topics[0].Topic != positions {
			return nil, nil, false
		}
		looks++
		if looks > 2 {
			return nil, nil, false
		}
		reply := request.ResponseKind().(*kmsg.MetadataResponse)
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic = &positions
		if looks == 1 {
			topic.ErrorCode = kerr.UnknownTopicOrPartition.Code
		} else {
			for id := range int32(2) {
				partition := kmsg.NewMetadataResponseTopicPartition()
				partition.Partition, partition.Leader = id, -1+id
				topic.Partitions = append(topic.Partitions, partition)
			}
		}
		reply.Topics = append(reply.Topics, topic)
		return reply, nil, true
	})
	if err := m.Apply(testContext(t), plan); err != nil {
		t.Fatal(err)
	}
	if looks < 3 {
		t.Errorf("recorded after %d looks", looks)
	}
	mustBeCurrent(t, m)
}

// A create that timed out may have worked, and one that was refused has not.
func TestCreateTopicAnswers(t *testing.T) {
	for _, c := range []struct {
		code *kerr.Error
		want error
	}{
		{kerr.RequestTimedOut, nil},
		{kerr.TopicAlreadyExists, nil},
		{kerr.TopicAuthorizationFailed, kerr.TopicAuthorizationFailed},
		{kerr.PolicyViolation, kerr.PolicyViolation},
	} {
		cluster, s := scriptable(t)
		cfg := orders
		cfg.OnStep = func(step Step) {
			if step.Action != Record || step.Version != 1 {
				return
			}
			if c.want == nil {
				// As if another, or a late request before this one, had created it.
				s.createTopic(t, names.PositionsTopic(orders.Outbox), 2,
					map[string]string{"cleanup.policy": "compact"})
			}
			cluster.ControlKey(kmsg.CreateTopics.Int16(),
				func(request kmsg.Request) (kmsg.Response, error, bool) {
					reply := request.ResponseKind().(*kmsg.CreateTopicsResponse)
					topic := kmsg.NewCreateTopicsResponseTopic()
					topic.Topic = request.(*kmsg.CreateTopicsRequest).Topics[0].Topic
					topic.ErrorCode = c.code.Code
					reply.Topics = append(reply.Topics, topic)
					return reply, nil, true
				})
		}
		err := migrate(testContext(t), s.migrator(t, cfg), 0)
		if !errors.Is(err, c.want) {
			t.Errorf("%v: got %v", c.code, err)
		}
	}
}

// A topic that must not be described is an error: nothing is assumed about it.
func TestForbiddenTopic(t *testing.T) {
	for _, key := range []kmsg.Key{kmsg.Metadata, kmsg.DescribeConfigs} {
		cluster, s := scriptable(t)
		m := s.migrator(t, orders)
		mustMigrate(t, m)
		cluster.ControlKey(key.Int16(), func(request kmsg.Request) (kmsg.Response, error, bool) {
			cluster.KeepControl()
			reply := forbid(request)
			return reply, nil, reply != nil
		})
		if _, err := m.Status(testContext(t)); !errors.Is(err, kerr.TopicAuthorizationFailed) {
			t.Errorf("%s: %v", key.Name(), err)
		}
	}
}

// forbid answers a question about a topic with a refusal; nil: it is no such question.
func forbid(request kmsg.Request) kmsg.Response {
	code := kerr.TopicAuthorizationFailed.Code
	switch request := request.(type) {
	case *kmsg.MetadataRequest:
		if len(request.Topics) == 0 {
			return nil
		}
		reply := request.ResponseKind().(*kmsg.MetadataResponse)
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic, topic.ErrorCode = request.Topics[0].Topic, code
		reply.Topics = append(reply.Topics, topic)
		return reply
	case *kmsg.DescribeConfigsRequest:
		reply := request.ResponseKind().(*kmsg.DescribeConfigsResponse)
		resource := kmsg.NewDescribeConfigsResponseResource()
		asked := request.Resources[0]
		resource.ResourceName, resource.ResourceType = asked.ResourceName, asked.ResourceType
		resource.ErrorCode = code
		reply.Resources = append(reply.Resources, resource)
		return reply
	}
	return nil
}

// scriptable is inMemory with the Kafka substitute at hand.
func scriptable(t *testing.T) (*kfake.Cluster, testEnv) {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster, testEnv{
		redis:   &redis.UniversalOptions{Addrs: []string{miniredis.RunT(t).Addr()}},
		brokers: cluster.ListenAddrs(),
	}
}
