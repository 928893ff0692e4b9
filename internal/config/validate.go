package config

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// checkAll checks what a single value cannot tell: what is required, names, addresses, and how
// values fit together.
func (c *Config) checkAll(file string, ps *problems) {
	if c.missing("outbox.name", c.Outbox.Name == "") {
		if file == "" {
			ps.add("", "outbox.name is required, and there is no %s here: run 'sluice init', name a file "+
				"with -c, or set %sOUTBOX_NAME", DefaultFile, EnvPrefix)
		} else {
			ps.add(file, "outbox.name is required")
		}
	} else if err := outbox.ValidateName(c.Outbox.Name); err != nil && c.Outbox.Name != "" {
		c.complain(ps, "outbox.name", "%v", err)
	}
	c.checkRedis(file, ps)
	c.checkKafka(file, ps)
	c.checkRelay(ps)
	c.checkAudit(ps)
	if c.HTTP.Listen != "off" {
		c.checkAddress("http.listen", c.HTTP.Listen, ps)
	}
}

func (c *Config) checkRedis(file string, ps *problems) {
	r := &c.Redis
	ways := 0
	for _, given := range []bool{r.URL != "", len(r.Addrs) > 0, r.Sentinel.Master != "" ||
		len(r.Sentinel.Addrs) > 0} {
		if given {
			ways++
		}
	}
	switch {
	case ways == 0 && c.missing("redis.url", true) && c.missing("redis.addrs", true) &&
		c.missing("redis.sentinel", true):
		ps.add(file, "redis.url is required (or redis.addrs for a cluster, or redis.sentinel)")
	case ways > 1:
		c.complain(ps, firstSet(c, "redis.addrs", "redis.sentinel.master", "redis.sentinel.addrs",
			"redis.url"),
			"expected one of redis.url, redis.addrs and redis.sentinel, got %d of them", ways)
	}
	if r.URL != "" {
		if problem := checkRedisURL(r.URL); problem != "" {
			c.complain(ps, "redis.url", "%s", problem)
		}
	}
	c.checkAddresses("redis.addrs", r.Addrs, ps)
	c.checkAddresses("redis.sentinel.addrs", r.Sentinel.Addrs, ps)
	if r.Sentinel.Master != "" && len(r.Sentinel.Addrs) == 0 {
		c.complain(ps, "redis.sentinel.master", "redis.sentinel.addrs is required with it")
	}
	if r.Sentinel.Master == "" && len(r.Sentinel.Addrs) > 0 {
		c.complain(ps, "redis.sentinel.addrs", "redis.sentinel.master is required with it")
	}
	if r.DB != 0 && r.Sentinel.Master == "" {
		c.complain(ps, "redis.db",
			"goes with redis.sentinel only: in a URL the database is its path, and a cluster has only 0")
	}
	c.checkSecret("redis.password", r.Password, r.PasswordFile, ps)
	c.checkSecret("redis.sentinel.password", r.Sentinel.Password, r.Sentinel.PasswordFile, ps)
	c.checkTLS("redis.tls", r.TLS, strings.HasPrefix(r.URL, "rediss://"), ps)
}

// checkRedisURL never repeats the URL: it may hold a password.
func checkRedisURL(text string) string {
	const want = "expected redis://host:port/db, rediss://host:port/db or unix:///path"
	u, err := url.Parse(text)
	if err != nil {
		return want
	}
	switch u.Scheme {
	case "redis", "rediss":
		if u.Hostname() == "" {
			return want + ": the host is missing"
		}
		if db := strings.Trim(u.Path, "/"); db != "" {
			if n, err := strconv.Atoi(db); err != nil || n < 0 {
				return fmt.Sprintf("%s: the database %q is not a number", want, db)
			}
		}
	case "unix":
		if u.Path == "" {
			return want + ": the path is missing"
		}
	default:
		return fmt.Sprintf("%s, got the scheme %q", want, u.Scheme)
	}
	if u.RawQuery != "" {
		return "expected no query: every option has a setting of its own"
	}
	return ""
}

func (c *Config) checkKafka(file string, ps *problems) {
	k := &c.Kafka
	if c.missing("kafka.brokers", len(k.Brokers) == 0) {
		ps.add(file, "kafka.brokers is required")
	}
	c.checkAddresses("kafka.brokers", k.Brokers, ps)
	c.checkTLS("kafka.tls", k.TLS, false, ps)
	c.checkSecret("kafka.sasl.password", k.SASL.Password, k.SASL.PasswordFile, ps)
	a := &k.SASL
	needs := map[string][]string{
		"plain": {"username", "password"}, "scram-sha-256": {"username", "password"},
		"scram-sha-512": {"username", "password"},
		"oauthbearer":   {"token_file"},
	}[a.Mechanism]
	has := map[string]bool{"username": a.Username != "", "password": a.Password != "" ||
		a.PasswordFile != "", "token_file": a.TokenFile != ""}
	for _, name := range []string{"username", "password", "token_file"} {
		wanted := slices.Contains(needs, name)
		path := "kafka.sasl." + name
		if name == "password" && a.Password == "" {
			path = "kafka.sasl.password_file"
		}
		if wanted && !has[name] {
			c.complain(ps, "kafka.sasl.mechanism", "%s needs %s", a.Mechanism, path)
		}
		if !wanted && has[name] && a.Mechanism == "" {
			c.complain(ps, path, "kafka.sasl.mechanism is required with it")
		} else if !wanted && has[name] {
			c.complain(ps, path, "the mechanism %s does not use it", a.Mechanism)
		}
	}
}

func (c *Config) checkRelay(ps *problems) {
	r := &c.Relay
	if err := checkRoute(r.Route); err != nil {
		c.complain(ps, "relay.route", "%v", err)
	}
	if t := r.DeadLetter.Topic; t != "" && names.ValidateTopic(t) != nil {
		c.complain(ps, "relay.dead_letter.topic", "expected a Kafka topic name (%s), got %q",
			names.TopicRule, t)
	} else if err := names.ValidateDeadLetterTopic(c.Outbox.Name, t); t != "" && err != nil {
		c.complain(ps, "relay.dead_letter.topic", "%v", err)
	}
	if r.MaxBytes > r.MaxInFlight {
		ps.add(c.where(firstSet(c, "relay.max_in_flight", "relay.max_bytes")),
			"one transaction of relay.max_bytes (%s) does not fit into relay.max_in_flight (%s)", r.MaxBytes,
			r.MaxInFlight)
	}
	if r.TransactionTimeout < r.SessionTimeout {
		ps.add(c.where(firstSet(c, "relay.transaction_timeout", "relay.session_timeout")),
			"relay.transaction_timeout (%s) is below relay.session_timeout (%s): brokers would abort the "+
				"transaction of a relay that still owns its shards", r.TransactionTimeout, r.SessionTimeout)
	}
	if r.HousekeepingInterval > r.SessionTimeout {
		ps.add(c.where(firstSet(c, "relay.housekeeping_interval", "relay.session_timeout")),
			"relay.housekeeping_interval (%s) is above relay.session_timeout (%s)",
			r.HousekeepingInterval, r.SessionTimeout)
	}
	seen := map[int]bool{}
	for _, shard := range r.Assign {
		if shard < 0 {
			c.complain(ps, "relay.assign", "expected shards from 0, got %d", shard)
		}
		if seen[shard] {
			c.complain(ps, "relay.assign", "shard %d is listed twice", shard)
		}
		seen[shard] = true
	}
}

func (c *Config) checkTLS(path string, t TLS, byURL bool, ps *problems) {
	if !t.Enabled && c.isSet(path+".enabled") && (byURL || t.On()) {
		c.complain(ps, path+".enabled", "is false, yet other settings ask for TLS: remove one of them")
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		c.complain(ps, firstSet(c, path+".cert_file", path+".key_file"),
			"cert_file and key_file go together")
	}
	if t.InsecureSkipVerify && (t.CAFile != "" || t.ServerName != "") {
		c.complain(ps, path+".insecure_skip_verify",
			"makes ca_file and server_name meaningless: remove one of them")
	}
}

func (c *Config) checkSecret(path, value, file string, ps *problems) {
	if value != "" && file != "" {
		c.complain(ps, path+"_file", "expected one of %s_file and %s, got both", path,
			EnvPrefix+strings.ToUpper(strings.ReplaceAll(path, ".", "_")))
	}
}

func (c *Config) checkAddresses(path string, addrs []string, ps *problems) {
	for _, a := range addrs {
		c.checkAddress(path, a, ps)
	}
}

func (c *Config) checkAddress(path, addr string, ps *problems) {
	host, port, err := net.SplitHostPort(addr)
	n, err2 := strconv.ParseUint(port, 10, 16)
	listen := path == "http.listen"
	if err != nil || err2 != nil || (host == "" && !listen) || (n == 0 && !listen) ||
		strings.Contains(host, "/") {
		c.complain(ps, path, "expected host:port, got %q", addr)
	}
}

// missing reports whether a required setting is empty because nobody gave it, rather than because
// what was given has been refused already.
func (c *Config) missing(path string, empty bool) bool {
	section, _, _ := strings.Cut(path, ".")
	return empty && !c.failed[path] && !c.failed[section]
}

// firstSet gives the first of paths that does not come from its default, else the first.
func firstSet(c *Config, paths ...string) string {
	for _, p := range paths {
		if c.isSet(p) {
			return p
		}
	}
	return paths[0]
}
