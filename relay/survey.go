package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/outbox"
)

// survey is what brokers know of a shard's producers.
type survey struct {
	hanging []hanging
	closed  [2][]trace // where they have written and nothing is open
	offline map[string]offlineTopic
	// partitions is how many each topic has.
	partitions map[string]int
	denied     []string // topics that this client may not ask about
}

type trace struct {
	place
	epoch int16
}

// offlineTopic is a topic some of whose partitions have no leader that answers.
type offlineTopic struct {
	partitions int // all of them
	offline    map[int32]bool
}

func (v *survey) isOffline(p place) bool { return v.offline[p.topic].offline[p.partition] }

func (v *survey) setOffline(p place) {
	t := v.offline[p.topic]
	if t.offline == nil {
		t = offlineTopic{v.partitions[p.topic], map[int32]bool{}}
		v.offline[p.topic] = t
	}
	t.offline[p.partition] = true
}

// describeTimeout bounds the question to one broker. One that does not answer has no say: its partitions are offline.
const describeTimeout = 5 * time.Second

// survey asks the leaders of all partitions to which the shard may have written.
func (s *shard) survey(ctx context.Context, p *producers) (*survey, error) {
	v := &survey{offline: map[string]offlineTopic{}, partitions: map[string]int{}}
	positions := place{outbox.PositionsTopic(s.cfg.Outbox), int32(s.id)}
	byLeader, err := s.candidates(ctx, positions, v)
	if err != nil {
		return nil, err
	}
	for leader, topics := range byLeader {
		req := kmsg.NewPtrDescribeProducersRequest()
		for topic, partitions := range topics {
			t := kmsg.NewDescribeProducersRequestTopic()
			t.Topic, t.Partitions = topic, partitions
			req.Topics = append(req.Topics, t)
		}
		asked, cancel := context.WithTimeout(ctx, describeTimeout)
		answer, err := s.relay.client.Broker(int(leader)).Request(asked, req)
		cancel()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			for topic, partitions := range topics {
				for _, n := range partitions {
					v.setOffline(place{topic, n})
				}
			}
			continue
		}
		for _, t := range answer.(*kmsg.DescribeProducersResponse).Topics {
			for i := range t.Partitions {
				if err := s.note(v, p, positions, place{t.Topic, t.Partitions[i].Partition}, &t.Partitions[i]); err != nil {
					return nil, err
				}
			}
		}
	}
	if v.isOffline(positions) {
		return nil, fmt.Errorf("kafka: %v: %w", positions, kerr.LeaderNotAvailable)
	}
	return v, nil
}

// note takes in what a broker says of one partition.
func (s *shard) note(v *survey, p *producers, positions, at place, answer *kmsg.DescribeProducersResponseTopicPartition) error {
	switch err := kerr.ErrorForCode(answer.ErrorCode); {
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		if !slices.Contains(v.denied, at.topic) {
			v.denied = append(v.denied, at.topic)
		}
		return nil
	case err != nil:
		v.setOffline(at)
		return nil
	}
	for _, x := range answer.ActiveProducers {
		epoch, open := int16(x.ProducerEpoch), x.CurrentTxnStartOffset >= 0
		turn := slices.IndexFunc(p.ids[:], func(id producerID) bool { return id.id == x.ProducerID })
		switch {
		case turn < 0 && open && at == positions:
			return &HaltError{Shard: s.id, Reason: fmt.Sprintf(
				"a transaction of producer %d, epoch %d, which is not this shard's, stands open in %v since offset %d, so that the position cannot be read; see kafka-transactions.sh",
				x.ProducerID, epoch, at, x.CurrentTxnStartOffset)}
		case turn < 0:
		case !open:
			v.closed[turn] = append(v.closed[turn], trace{at, epoch})
		case epoch >= p.ids[turn].epoch:
			return errFenced // it is a newer owner's, and alive
		default:
			v.hanging = append(v.hanging, hanging{at, turn, x.CurrentTxnStartOffset, epoch, x.CoordinatorEpoch})
		}
	}
	return nil
}

// candidates are the partitions to which the shard may have written, by leader: its positions, the dead letters, the topics that this relay
// knows, and those whose name begins as the route does. Those without a leader are noted as offline.
func (s *shard) candidates(ctx context.Context, positions place, v *survey) (map[int32]map[string][]int32, error) {
	req := kmsg.NewPtrMetadataRequest() // all topics
	answer, err := req.RequestWith(ctx, s.relay.client)
	if err != nil {
		return nil, fmt.Errorf("kafka: metadata: %w", err)
	}
	prefix, _, _ := strings.Cut(s.cfg.Route, "{{")
	byLeader := map[int32]map[string][]int32{}
	for i := range answer.Topics {
		t := &answer.Topics[i]
		if t.Topic == nil || t.IsInternal {
			continue
		}
		name := *t.Topic
		if name != positions.topic && name != s.cfg.DeadLetter.Topic && !strings.HasPrefix(name, prefix) && !s.relay.topics.knows(name) {
			continue
		}
		v.partitions[name] = len(t.Partitions)
		for j := range t.Partitions {
			at := place{name, t.Partitions[j].Partition}
			if name == positions.topic && at != positions {
				continue
			}
			leader := t.Partitions[j].Leader
			if leader < 0 {
				v.setOffline(at)
				continue
			}
			if byLeader[leader] == nil {
				byLeader[leader] = map[string][]int32{}
			}
			byLeader[leader][name] = append(byLeader[leader][name], at.partition)
		}
	}
	return byLeader, nil
}
