package preflight

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/internal/auditing"
	"github.com/sluice-outbox/sluice/internal/config"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// checkAuditSettings warns of schedules and retentions that do not go together.
func (c *checker) checkAuditSettings(l list) {
	audit, trim := &c.cfg.Audit, &c.cfg.Relay.Trim
	if trim.AfterAudit && trim.Keep == config.Off {
		l.warn("relay.trim.after_audit", "leave one of the two out",
			"relay.trim.keep is off: nothing is trimmed at all")
	}
	if audit.Schedule == "" {
		if trim.AfterAudit {
			l.warn("audit.schedule", "set audit.schedule, or let something else run 'sluice audit' often",
				"relay.trim.after_audit is set and no relay audits: until somebody does, nothing is trimmed "+
					"and Redis fills up")
		}
		return
	}
	s, err := auditing.ParseSchedule(audit.Schedule)
	if err != nil {
		return // loading has refused it
	}
	gap := config.Duration(s.LongestGap(time.Now()))
	if !trim.AfterAudit && trim.Keep != config.Off && trim.Keep <= gap+audit.Settle {
		l.warn("audit.schedule",
			"audit more often, keep entries longer (relay.trim.keep), or set relay.trim.after_audit",
			"up to %s pass between audits, and entries are trimmed after %s: some will be gone before an "+
				"audit comes to them", gap, trim.Keep)
	}
	if audit.Settle >= gap {
		l.warn("audit.settle", "lower it, or audit less often",
			"an audit takes %s at least, which is all of the time to the next one", audit.Settle)
	}
}

// checkAudit looks at what audits need beside what relays do. Nobody has to audit: what is missing
// fails the check only where the configuration asks for audits.
func (c *checker) checkAudit(ctx context.Context, kafkaUp bool) {
	l := c.area("audit")
	level := Warn
	if c.cfg.Audit.Schedule != "" || c.cfg.Relay.Trim.AfterAudit {
		level = Fail
	}
	if before := len(c.all); kafkaUp {
		c.checkAuditTopics(ctx, l, level)
		if len(c.all) == before {
			l.ok("permissions", "nothing that an audit reads or writes is refused, as far as brokers tell")
		}
	}
	if c.replica != nil {
		c.checkReplica(ctx, l, level)
	}
}

func (c *checker) checkAuditTopics(ctx context.Context, l list, level Level) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	own := names.AuditsTopic(c.cfg.Outbox.Name)
	routed := slices.Sorted(maps.Keys(c.routed))
	found, err := c.topics(ctx, append(routed, own, c.deadLetterTopic(),
		names.PositionsTopic(c.cfg.Outbox.Name))...)
	if err != nil {
		l.unknown("topics", err, "")
		return
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		t, wanted := found[name], []kadm.ACLOperation{kmsg.ACLOperationRead, kmsg.ACLOperationDescribe}
		if name == own {
			wanted = append(wanted, kmsg.ACLOperationWrite)
		}
		switch missing := missingOps(t.ops, wanted); {
		case isAuthorization(t.err):
			l.add(level, name, "allow this to the user", "%s are needed and not allowed", opsText(wanted))
		case t.err == nil && missing != "":
			l.add(level, name, "allow this to the user", "%s is not allowed", missing)
		case name == own && errors.Is(t.err, kerr.UnknownTopicOrPartition):
			if err := c.mayCreate(ctx, own); err != nil {
				l.add(level, name,
					"allow Create on the topic, or create it with one partition and cleanup.policy=compact",
					"does not exist, and an audit cannot create it: %v", err)
			}
		case name == own && t.err == nil:
			c.checkAuditsTopic(ctx, l, level, name, t)
		}
	}
}

// checkAuditsTopic looks at a topic that was made by hand, or changed.
func (c *checker) checkAuditsTopic(ctx context.Context, l list, level Level, name string, t topic) {
	if t.partitions != 1 {
		l.warn(name, "leave it, or create it with one partition", "%d partitions; only the first is used",
			t.partitions)
	}
	configs, err := c.admin.DescribeTopicConfigs(ctx, name)
	if err != nil || len(configs) != 1 || configs[0].Err != nil {
		return // not allowed to ask
	}
	if policy, ok := configValue(configs[0], "cleanup.policy"); ok && policy != "compact" {
		l.add(level, name, "set cleanup.policy=compact",
			"cleanup.policy is %s: what audits remember is removed after a while, and they begin anew",
			policy)
	}
}

// checkReplica asks the server that audit.replica names. It needs nothing but to read.
func (c *checker) checkReplica(ctx context.Context, l list, level Level) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := c.replica.Ping(ctx).Err(); err != nil {
		l.add(level, "replica", hint(err, "redis, or in audit.replica"), "%s does not answer: %v",
			config.RedactURL(c.cfg.Audit.Replica), err)
		return
	}
	stream := outbox.StreamKey(c.cfg.Outbox.Name, 0)
	for _, args := range [][]any{
		{"XINFO", "STREAM", stream},
		{"XRANGE", stream, "-", "+", "COUNT", "1"},
	} {
		err := c.replica.Do(ctx, args...).Err()
		switch {
		case err == nil || errors.Is(err, redis.Nil):
		case redis.HasErrorPrefix(err, "NOPERM"):
			l.add(level, "replica", "extend the ACL of the user there", "the user may not %s", args[0])
			return
		case strings.Contains(err.Error(), "no such key"):
			l.add(level, "replica",
				"is it a replica of this Redis, and the right database? (or the outbox is to be created: "+
					"sluice migrate apply)", "it does not have the stream %s", stream)
			return
		default:
			l.add(level, "replica", hint(err, "redis, or in audit.replica"), "%s: %v", args[0], err)
			return
		}
	}
	text, err := c.replica.Info(ctx, "replication").Result()
	info := parseInfo(text)
	switch {
	case err != nil || info["role"] == "":
		l.warn("replica", "look at INFO replication there",
			"it answers; whether it is a replica is not told")
	case info["role"] == "master":
		l.warn("replica", "name a replica, or leave audit.replica out",
			"it is a master: the audit loads it, or another deployment is meant")
	case info["master_link_status"] != "up":
		l.add(level, "replica", "see its log",
			"its link to the master is %s: audits that read from it would be incomplete",
			info["master_link_status"])
	default:
		l.ok("replica", "%s follows its master", config.RedactURL(c.cfg.Audit.Replica))
	}
}
