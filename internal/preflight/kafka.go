package preflight

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/internal/config"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/internal/retry"
)

// checkKafka reports whether Kafka answers at all.
func (c *checker) checkKafka(ctx context.Context) bool {
	l := c.area("kafka")
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := c.kafka.Ping(ctx); err != nil {
		l.fail("reachable", hint(err, "kafka"), "%s does not answer: %v", config.KafkaName(c.cfg), err)
		return false
	}
	brokers, err := c.admin.ListBrokers(ctx)
	if err != nil {
		l.unknown("reachable", err, "")
		return false
	}
	c.brokers = len(brokers)
	l.ok("reachable", "%s, %s", config.KafkaName(c.cfg), brokersText(len(brokers)))
	c.checkVersions(ctx, l)
	c.checkBrokerLimits(ctx, l, brokers.NodeIDs())
	return true
}

func brokersText(n int) string {
	if n == 1 {
		return "1 broker"
	}
	return strconv.Itoa(n) + " brokers"
}

// checkVersions asks every broker: one that cannot be reached at the address it advertises fails
// the relay later.
func (c *checker) checkVersions(ctx context.Context, l list) {
	versions, err := c.admin.ApiVersions(ctx)
	if err != nil {
		l.unknown("versions", err, "")
		return
	}
	texts := map[string]bool{}
	for _, v := range versions.Sorted() {
		if v.Err != nil {
			l.fail("broker "+strconv.Itoa(int(v.NodeID)),
				"check the broker and its advertised.listeners: clients are sent to that address",
				"does not answer: %v", v.Err)
			continue
		}
		for _, key := range []kmsg.Key{kmsg.InitProducerID, kmsg.AddOffsetsToTxn, kmsg.EndTxn} {
			if _, ok := v.KeyMaxVersion(key.Int16()); !ok {
				l.fail("broker "+strconv.Itoa(int(v.NodeID)),
					"use Kafka 3.0 or newer, or a service with transactions", "lacks %s: no transactions",
					key.Name())
			}
		}
		if guess := v.VersionGuess(); !texts[guess] {
			texts[guess] = true
			l.ok("version", "Kafka %s", guess)
		}
		if v.NodeID == versions.Sorted()[0].NodeID {
			c.checkFeature(l, v.Raw())
		}
	}
}

// transactionFeature is the feature that makes brokers verify which transaction a record belongs to
// (KIP-890).
const transactionFeature = "transaction.version"

func (c *checker) checkFeature(l list, v *kmsg.ApiVersionsResponse) {
	for _, f := range v.FinalizedFeatures {
		if f.Name != transactionFeature {
			continue
		}
		if f.MaxVersionLevel >= 2 {
			l.ok(transactionFeature, "%d", f.MaxVersionLevel)
			return
		}
		l.warn(transactionFeature,
			"kafka-features.sh upgrade --feature transaction.version=2, on Kafka 4.0 or newer",
			"%d: brokers do not renew the producer's epoch with each transaction, and small "+
				"transactions are slower", f.MaxVersionLevel)
		return
	}
	l.warn(transactionFeature, "prefer Kafka 4.0 or newer",
		"the brokers do not have this feature: they do not renew the producer's epoch with each "+
			"transaction, and small transactions are slower")
}

// limit is a setting of the brokers that one of ours must respect.
type limit struct {
	key   string
	ours  string
	value config.Duration
	most  bool // ours may not be above it; else not below
}

func (c *checker) checkBrokerLimits(ctx context.Context, l list, ids []int32) {
	if len(ids) == 0 {
		return
	}
	limits := []limit{
		{"transaction.max.timeout.ms", "relay.transaction_timeout", c.cfg.Relay.TransactionTimeout, true},
		{"group.max.session.timeout.ms", "relay.session_timeout", c.cfg.Relay.SessionTimeout, true},
		{"group.min.session.timeout.ms", "relay.session_timeout", c.cfg.Relay.SessionTimeout, false},
	}
	configs, err := c.admin.DescribeBrokerConfigs(ctx, ids[0])
	if err == nil && len(configs) == 1 {
		err = configs[0].Err
	}
	if err != nil || len(configs) != 1 {
		l.unknown("limits", err,
			"allow DescribeConfigs on the cluster, or compare by hand: transaction.max.timeout.ms, "+
				"group.min.session.timeout.ms")
		return
	}
	broken := false
	for _, lim := range limits {
		value, ok := configValue(configs[0], lim.key)
		n, err := strconv.ParseInt(value, 10, 64)
		if !ok || err != nil {
			continue
		}
		theirs := config.Duration(n * int64(time.Millisecond))
		if lim.most && lim.value > theirs {
			l.fail(lim.ours, fmt.Sprintf("set it to at most %s, or raise %s", theirs, lim.key),
				"%s is above the brokers' %s of %s", lim.value, lim.key, theirs)
			broken = true
		}
		if !lim.most && lim.value < theirs {
			l.fail(lim.ours, fmt.Sprintf("set it to at least %s, or lower %s", theirs, lim.key),
				"%s is below the brokers' %s of %s", lim.value, lim.key, theirs)
			broken = true
		}
	}
	if !broken {
		l.ok("limits", "relay.transaction_timeout and relay.session_timeout are within what the "+
			"brokers allow")
	}
}

func configValue(r kadm.ResourceConfig, key string) (string, bool) {
	for _, c := range r.Configs {
		if c.Key == key && c.Value != nil {
			return *c.Value, true
		}
	}
	return "", false
}

// checkTransactions finds the coordinator of a transactional id. That fails where the brokers
// cannot create their transaction log, and where the user may not use the id.
func (c *checker) checkTransactions(ctx context.Context, l list) {
	id := names.LaneID(c.cfg.Outbox.Name, "check", 'a')
	err := c.findCoordinator(ctx, id)
	if err != nil {
		l.fail("transactions",
			"see the brokers' log: transaction.state.log.replication.factor may be above the number of "+
				"brokers, or the user may not Describe and Write the transactional ids "+
				"sluice."+c.cfg.Outbox.Name+".*",
			"no coordinator for transactional id %s: %v", id, err)
		return
	}
	described, err := c.admin.DescribeTransactions(ctx, id)
	if err == nil {
		err = described[id].Err
	}
	if isDenied(err) {
		l.fail("transactions",
			"allow Describe and Write on the transactional ids with the prefix "+
				"sluice."+c.cfg.Outbox.Name+".", "transactional id %s: %v", id, err)
		return
	}
	l.ok("transactions", "the transactional ids sluice.%s.* have a coordinator", c.cfg.Outbox.Name)
}

// coordinatorPatience: the first question of all makes the brokers create their transaction log,
// and until that is done they answer that there is no coordinator.
const coordinatorPatience = 8 * time.Second

func (c *checker) findCoordinator(ctx context.Context, id string) error {
	for began := time.Now(); ; {
		found := c.admin.FindTxnCoordinators(ctx, id)
		err := found.Error()
		if !errors.Is(err, kerr.CoordinatorNotAvailable) || time.Since(began) > coordinatorPatience {
			return err
		}
		if retry.Sleep(ctx, 300*time.Millisecond) != nil {
			return err
		}
	}
}

func isDenied(err error) bool {
	var auth *kadm.AuthError
	return errors.As(err, &auth) || isAuthorization(err)
}
