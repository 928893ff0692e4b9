package preflight

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// topic is what a broker tells of one topic.
type topic struct {
	err        error
	partitions int
	replicas   int // of the first partition
	ops        []kadm.ACLOperation
}

// topics asks for topics with what this user may do to them (KIP-430). The request is made by hand
// because kadm gives up on all topics if one of them may not be seen, and that is just what is
// asked.
func (c *checker) topics(ctx context.Context, names ...string) (map[string]topic, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = false
	req.IncludeTopicAuthorizedOperations = true
	for _, name := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, c.kafka)
	if err != nil {
		return nil, err
	}
	found := map[string]topic{}
	for _, t := range resp.Topics {
		if t.Topic == nil {
			continue
		}
		d := topic{
			err: kerr.ErrorForCode(t.ErrorCode), partitions: len(t.Partitions),
			ops: kadm.DecodeACLOperations(t.AuthorizedOperations),
		}
		if len(t.Partitions) > 0 {
			d.replicas = len(t.Partitions[0].Replicas)
		}
		found[*t.Topic] = d
	}
	for _, name := range names {
		if _, ok := found[name]; !ok {
			return nil, fmt.Errorf("the broker says nothing of topic %s", name)
		}
	}
	return found, nil
}

// mayCreate asks for the creation of a topic without creating it.
func (c *checker) mayCreate(ctx context.Context, name string) error {
	resp, err := c.admin.ValidateCreateTopics(ctx, 1, -1, nil, name)
	if err != nil {
		return err
	}
	return resp[name].Err
}
