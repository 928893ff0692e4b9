package preflight

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/internal/config"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// checkRouteTopics looks at every topic that is known: those that a route without fields names, and
// those of the newest entries that stand in the streams.
func (c *checker) checkRouteTopics(ctx context.Context, redisUp bool) {
	l := c.area("topics")
	ctx, cancel := bounded(ctx)
	defer cancel()
	names := map[string]string{} // topic -> why it is known
	if !strings.Contains(c.cfg.Relay.Route, "{{") {
		names[c.cfg.Relay.Route] = "the route"
	}
	if redisUp {
		for _, e := range c.sample(ctx) {
			topic, err := e.topic, error(nil)
			if topic == "" {
				topic, err = config.Topic(c.cfg.Relay.Route, e.event)
			}
			if err != nil {
				l.warn("route", "correct relay.route, or the event: by relay.dead_letter.on it is "+
					"dead-lettered as no_route, or its shard halts", "entry %s in shard %d has no topic: %v", e.id,
					e.shard, err)
				continue
			}
			if _, known := names[topic]; known {
				continue
			}
			names[topic] = fmt.Sprintf("entry %s in shard %d", e.id, e.shard)
		}
	}
	c.routed = names
	if len(names) == 0 {
		l.ok("route", "%s: its topics are known when events are there; run this again then",
			c.cfg.Relay.Route)
	} else {
		c.checkTopics(ctx, l, names)
	}
	c.checkOwnTopics(ctx, l)
}

// sampled is what decides the topic of an entry.
type sampled struct {
	id    string
	shard int
	topic string
	event config.RouteEvent
}

const (
	sampledEntries = 20 // of a shard
	sampledShards  = 64
)

// sample reads the newest entries of the streams. Nothing of it is shown but the topics they lead
// to.
func (c *checker) sample(ctx context.Context) []sampled {
	var all []sampled
	for shard := range min(c.shards, sampledShards) {
		entries, err := c.redis.XRevRangeN(ctx, outbox.StreamKey(c.cfg.Outbox.Name, shard), "+", "-",
			sampledEntries).Result()
		if err != nil {
			continue // the layout or the permissions say why
		}
		for _, e := range entries {
			text := func(name string) string { s, _ := e.Values[name].(string); return s }
			s := sampled{id: e.ID, shard: shard, topic: text(outbox.FieldTopic), event: config.RouteEvent{
				AggregateType: text(outbox.FieldAggregateType), AggregateID: text(outbox.FieldAggregateID),
				Type: text(outbox.FieldType),
				Key:  text(outbox.FieldKey), ContentType: text(outbox.FieldContentType),
				Headers: map[string]string{},
			}}
			if text(outbox.FieldID) == "" || s.event.AggregateType == "" || s.event.AggregateID == "" ||
				s.event.Type == "" {
				continue // undecodable: it does not come to be routed
			}
			if s.event.Key == "" {
				s.event.Key = s.event.AggregateID
			}
			// without headers if that fails
			_ = json.Unmarshal([]byte(text(outbox.FieldHeaders)), &s.event.Headers)
			all = append(all, s)
		}
	}
	return all
}

func (c *checker) checkTopics(ctx context.Context, l list, names map[string]string) {
	topics := slices.Sorted(maps.Keys(names))
	found, err := c.topics(ctx, topics...)
	if err != nil {
		l.unknown("topics", err, "")
		return
	}
	configs, err := c.admin.DescribeTopicConfigs(ctx, topics...)
	if err != nil {
		configs = nil // max.message.bytes stays unknown, the relay takes the brokers' default then
	}
	for _, name := range topics {
		t := found[name]
		switch {
		case errors.Is(t.err, kerr.UnknownTopicOrPartition):
			c.missingTopic(ctx, l, name, names[name])
			continue
		case t.err != nil:
			l.fail(name, "allow Describe and Write on the topic, if it exists, or Create",
				"%v (known from %s)", t.err, names[name])
			continue
		}
		before := len(c.all)
		if n := t.partitions; c.shards > 0 && n%c.shards != 0 {
			l.warn(name, fmt.Sprintf(
				"give it a multiple of %d partitions while it is empty: adding partitions later moves keys "+
					"and breaks their order", c.shards),
				"%d partitions are no multiple of %d shards: shards share partitions, and one shard's open "+
					"transaction holds back the readers of another's events", n, c.shards)
		}
		if missing := missingOps(t.ops,
			[]kadm.ACLOperation{kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe}); missing != "" {
			l.fail(name, "allow these operations to the user", "%s is not allowed", missing)
		}
		if missing := missingOps(t.ops, []kadm.ACLOperation{kmsg.ACLOperationRead}); missing != "" &&
			c.cfg.Relay.Delivery == "exactly-once" {
			l.warn(name, "allow it to the user",
				"%s is not allowed: the relay cannot see transactions that brokers have left open there "+
					"(KAFKA-20734)", missing)
		}
		c.checkDurability(l, name, t, configs)
		c.checkMessageSize(l, name, configs)
		if len(c.all) == before {
			l.ok(name, "%d partitions, known from %s", t.partitions, names[name])
		}
	}
}

func (c *checker) missingTopic(ctx context.Context, l list, name, why string) {
	switch c.cfg.Relay.Topics.OnUnknown {
	case "create":
		if err := c.mayCreate(ctx, name); err != nil {
			l.fail(name, "allow Create on the topic or its prefix, or create it beforehand",
				"does not exist (known from %s), and the relay cannot create it: %v", why, err)
			return
		}
		l.ok(name, "does not exist (known from %s); the relay creates it", why)
	case "dead_letter":
		l.warn(name, "create it, or set relay.topics.on_unknown to create",
			"does not exist (known from %s): events for it are dead-lettered", why)
	default:
		l.fail(name, "create it, or set relay.topics.on_unknown to create",
			"does not exist (known from %s): events for it halt their shards", why)
	}
}

// checkDurability compares replicas and min.insync.replicas. With one broker there is nothing to
// choose.
func (c *checker) checkDurability(l list, name string, t topic, configs kadm.ResourceConfigs) {
	if c.brokers < 2 || t.partitions == 0 {
		return
	}
	replicas := t.replicas
	isr, known := topicInt(configs, name, "min.insync.replicas")
	switch {
	case replicas < 2:
		l.warn(name, "give it 3 replicas",
			"1 replica: the loss of one broker loses its events, or stops delivery to it")
	case known && isr < 2:
		l.warn(name, "set min.insync.replicas to 2",
			"min.insync.replicas is %d: an acknowledged event may be on one broker alone", isr)
	case known && isr >= replicas:
		l.warn(name, "set min.insync.replicas below the number of replicas",
			"min.insync.replicas %d of %d replicas: the loss of any broker stops delivery", isr, replicas)
	}
}

// checkMessageSize compares the topic's limit with what writers accept by default.
func (c *checker) checkMessageSize(l list, name string, configs kadm.ResourceConfigs) {
	n, known := topicInt(configs, name, "max.message.bytes")
	if known && n < outbox.DefaultMaxPayload+64<<10 {
		l.warn(name, "raise max.message.bytes, or lower MaxPayload of the writers",
			"max.message.bytes is %d: payloads that writers accept by default (%d) are dead-lettered as "+
				"too_large", n, outbox.DefaultMaxPayload)
	}
}

// checkOwnTopics looks at what the layout does not fix: how durable positions and dead letters are.
func (c *checker) checkOwnTopics(ctx context.Context, l list) {
	names := []string{names.PositionsTopic(c.cfg.Outbox.Name), c.deadLetterTopic()}
	found, err := c.topics(ctx, names...)
	if err != nil {
		l.unknown("own topics", err, "")
		return
	}
	configs, err := c.admin.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		configs = nil
	}
	for _, name := range names {
		t := found[name]
		if t.err != nil {
			continue // the layout or the permissions say so
		}
		before := len(c.all)
		c.checkDurability(l, name, t, configs)
		if len(c.all) == before {
			l.ok(name, "%d partitions, replicas each: %d", t.partitions, t.replicas)
		}
	}
}

func topicInt(configs kadm.ResourceConfigs, topic, key string) (int, bool) {
	for _, r := range configs {
		if r.Name != topic || r.Err != nil {
			continue
		}
		if value, ok := configValue(r, key); ok {
			n, err := strconv.Atoi(value)
			return n, err == nil
		}
	}
	return 0, false
}
