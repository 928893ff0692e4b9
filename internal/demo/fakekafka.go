package demo

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// newFakeKafka starts the stand-in for Kafka: one broker on a free port of loopback, everything in
// memory. Two of its answers are corrected.
func newFakeKafka() (*kfake.Cluster, error) {
	c, err := kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.GroupMinSessionTimeout(100*time.Millisecond), // brokers want 6 s by default
	)
	if err != nil {
		return nil, fmt.Errorf("in-memory Kafka: %w", err)
	}
	refuseRecovery(c)
	hurryJoins(c)
	return c, nil
}

// refuseRecovery completes the fencing. An InitProducerID aborts the open transaction of the
// transactional id and raises its epoch, and whoever produces or commits with an older one is
// refused: so do brokers, and kfake. But a producer that lost its epoch may ask to recover it, with
// the old epoch in InitProducerID; a broker answers PRODUCER_FENCED if another one has raised it
// since, kfake gives a new epoch to whoever asks. From outside the two cannot be told apart, so
// every recovery is refused. That is stricter than a broker and costs nothing: relays do not
// recover a producer, they make a new one.
func refuseRecovery(c *kfake.Cluster) {
	c.ControlKey(int16(kmsg.InitProducerID), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req, ok := r.(*kmsg.InitProducerIDRequest)
		if !ok || !recovers(req) {
			return nil, nil, false
		}
		resp, ok := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		if !ok {
			return nil, nil, false
		}
		resp.ProducerID, resp.ProducerEpoch = -1, -1
		resp.ErrorCode = kerr.ProducerFenced.Code
		return resp, nil, true
	})
}

// hurryJoins bounds how long a group waits for its members to join again to less than their
// session. A member that waits for the others does not send heartbeats; a broker does not expire it
// meanwhile, kfake does, and then never answers its JoinGroup. Who joins too late is no member any
// more and joins anew, as with a broker.
func hurryJoins(c *kfake.Cluster) {
	c.ControlKey(int16(kmsg.JoinGroup), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if req, ok := r.(*kmsg.JoinGroupRequest); ok {
			req.RebalanceTimeoutMillis = min(req.RebalanceTimeoutMillis, req.SessionTimeoutMillis/2)
		}
		return nil, nil, false
	})
}

// recovers tells a transactional producer that wants its old id back from one that begins.
func recovers(r *kmsg.InitProducerIDRequest) bool {
	return r.TransactionalID != nil && r.ProducerID >= 0 && r.ProducerEpoch >= 0
}
