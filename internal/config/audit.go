package config

import (
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/internal/auditing"
)

// AuditConfig gives the configuration of the audit library for an audit by hand, without its
// clients and logger. A value that Load has accepted is accepted by the library.
func AuditConfig(c *Config) consistency.Config {
	r, a := &c.Relay, &c.Audit
	settle := time.Duration(a.Settle)
	if settle == 0 {
		settle = -1 // in the library 0 is the default
	}
	allow := a.OnDuplicate == "report" || a.OnDuplicate == "" && r.Delivery == "at-least-once"
	return consistency.Config{
		Outbox: c.Outbox.Name, Route: r.Route, Format: consistency.Format(r.Format), Source: r.Source,
		Tombstones:      r.Tombstones,
		DeadLetterTopic: r.DeadLetter.Topic, Watch: a.Watch, Settle: settle, AllowDuplicates: allow,
		Rate:   a.Rate,
		Effort: float64(a.Effort) / 100,
	}
}

// ScheduledAuditConfig is AuditConfig for audits on a schedule, which run beside production and
// take their time unless they are told not to.
func ScheduledAuditConfig(c *Config) consistency.Config {
	cfg := AuditConfig(c)
	if c.Audit.Effort == 0 {
		cfg.Effort = consistency.GentleEffort
	}
	return cfg
}

// ReplicaClient makes the client of audit.replica, or nil if there is none. What its URL does not
// say is taken from the section redis. The caller closes it.
func ReplicaClient(c *Config) (redis.UniversalClient, error) {
	if c.Audit.Replica == "" {
		return nil, nil
	}
	u, err := url.Parse(c.Audit.Replica)
	if err != nil {
		return nil, c.Problemf("audit.replica", "is not a URL")
	}
	same := *c
	if u.Scheme != "unix" && strings.Trim(u.Path, "/") == "" {
		u.Path = "/" + c.redisDB()
	}
	if u.User != nil {
		same.Redis.Username, same.Redis.Password, same.Redis.PasswordFile = "", "", ""
	} else if primary, err := url.Parse(c.Redis.URL); err == nil {
		u.User = primary.User
	}
	same.Redis.URL, same.Redis.Addrs, same.Redis.Sentinel, same.Redis.DB = u.String(), nil, Sentinel{},
		0
	return RedisClient(&same)
}

func (c *Config) checkAudit(ps *problems) {
	a := &c.Audit
	if a.Schedule != "" {
		if _, err := auditing.ParseSchedule(a.Schedule); err != nil {
			c.complain(ps, "audit.schedule", "%v, got %q", err, a.Schedule)
		}
	}
	if a.Replica != "" {
		if problem := checkRedisURL(a.Replica); problem != "" {
			c.complain(ps, "audit.replica", "%s", problem)
		}
		if len(c.Redis.Addrs) > 0 {
			c.complain(ps, "audit.replica",
				"is one server, and the shards of redis.addrs are on several: leave it out")
		}
	}
	for _, p := range a.Watch {
		if _, err := path.Match(p, ""); err != nil {
			c.complain(ps, "audit.watch", "expected a pattern such as orders.*, got %q", p)
		}
	}
}
