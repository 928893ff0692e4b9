package preflight

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/internal/names"
)

// checkKafkaPermissions asks the brokers what this user may do with what the relay uses (KIP-430).
// Brokers without an authorizer allow everything and say so.
func (c *checker) checkKafkaPermissions(ctx context.Context) {
	l := c.area("kafka")
	ctx, cancel := bounded(ctx)
	defer cancel()
	c.checkTransactions(ctx, l)
	c.checkHanging(ctx, l)
	denied := false
	refuse := func(what, detail string) {
		l.fail("permissions", "allow this to the user", "%s: %s", what, detail)
		denied = true
	}
	positions := names.PositionsTopic(c.cfg.Outbox.Name)
	topics, err := c.topics(ctx, positions, c.deadLetterTopic())
	if err != nil {
		l.unknown("permissions", err, "")
		return
	}
	for name, wanted := range map[string][]kadm.ACLOperation{
		positions:           {kmsg.ACLOperationRead, kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe},
		c.deadLetterTopic(): {kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe},
	} {
		t := topics[name]
		switch {
		case isAuthorization(t.err):
			refuse("topic "+name, opsText(wanted)+" are needed and not allowed")
		case t.err == nil: // else the layout says what is missing
			if missing := missingOps(t.ops, wanted); missing != "" {
				refuse("topic "+name, missing+" is not allowed")
			}
		}
	}
	group := names.RelayGroup(c.cfg.Outbox.Name)
	groups, err := c.admin.DescribeGroups(ctx, group)
	if err == nil {
		err = groups[group].Err
	}
	if isAuthorization(err) {
		refuse("group "+group, "READ, DESCRIBE are needed and not allowed")
	} else if err == nil {
		if missing := missingOps(groups[group].AuthorizedOperations,
			[]kadm.ACLOperation{kmsg.ACLOperationRead}); missing != "" {
			refuse("group "+group, missing+" is not allowed")
		}
	}
	if !denied {
		l.ok("permissions",
			"nothing that a relay does to its own topics and group is refused, as far as brokers tell")
	}
}

// checkHanging asks whether a relay could end the transactions that brokers leave open
// (KAFKA-20734).
func (c *checker) checkHanging(ctx context.Context, l list) {
	if c.cfg.Relay.Delivery != "exactly-once" {
		return
	}
	req := kmsg.NewPtrDescribeClusterRequest()
	req.IncludeClusterAuthorizedOperations = true
	answer, err := req.RequestWith(ctx, c.kafka)
	if err == nil {
		err = kerr.ErrorForCode(answer.ErrorCode)
	}
	if err != nil {
		return // brokers that do not tell are older than the defect
	}
	ops := kadm.DecodeACLOperations(answer.ClusterAuthorizedOperations)
	if missing := missingOps(ops, []kadm.ACLOperation{kmsg.ACLOperationAlter}); missing != "" &&
		!slices.Contains(ops, kmsg.ACLOperationClusterAction) {
		l.warn("hanging transactions",
			"allow Alter on the cluster, or be ready to when a shard halts for it",
			"%s on the cluster is not allowed: if a broker of 4.3.0 to 4.4.0 is lost in the moment of a "+
				"commit and leaves the transaction open, the shard halts (KAFKA-20734)", missing)
	}
}

func (c *checker) deadLetterTopic() string {
	if t := c.cfg.Relay.DeadLetter.Topic; t != "" {
		return t
	}
	return names.DeadLetterTopic(c.cfg.Outbox.Name)
}

// missingOps names the wanted operations that are not among got. An empty got is a broker that does
// not tell.
func missingOps(got, wanted []kadm.ACLOperation) string {
	if len(got) == 0 || slices.Contains(got, kmsg.ACLOperationAll) {
		return ""
	}
	var missing []kadm.ACLOperation
	for _, w := range wanted {
		if !slices.Contains(got, w) {
			missing = append(missing, w)
		}
	}
	return opsText(missing)
}

func opsText(ops []kadm.ACLOperation) string {
	texts := make([]string, len(ops))
	for i, op := range ops {
		texts[i] = op.String()
	}
	return strings.Join(texts, ", ")
}

func isAuthorization(err error) bool {
	for _, denied := range []error{
		kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed,
		kerr.ClusterAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed,
	} {
		if errors.Is(err, denied) {
			return true
		}
	}
	return false
}
