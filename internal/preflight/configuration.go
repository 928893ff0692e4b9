package preflight

import (
	"net"
	"net/url"
	"strings"

	"github.com/sluice-outbox/sluice/internal/config"
)

// checkConfiguration warns of settings that are valid and can hurt. Loading has refused the invalid
// ones.
func (c *checker) checkConfiguration() {
	l, cfg := c.area("configuration"), c.cfg
	before := len(c.all)
	for _, name := range cfg.Ignored() {
		l.warn("environment",
			"unset it if it was meant for sluice: 'sluice config show --origin' lists what is used",
			"%s is no setting", name)
	}
	for _, t := range []struct {
		path string
		tls  config.TLS
	}{{"redis.tls", cfg.Redis.TLS}, {"kafka.tls", cfg.Kafka.TLS}} {
		if t.tls.InsecureSkipVerify {
			l.warn(t.path, "name the authority with "+t.path+".ca_file instead",
				"certificates are not verified: anyone on the path can read and change everything")
		}
	}
	if m := cfg.Kafka.SASL.Mechanism; (m == "plain" || m == "oauthbearer") && !cfg.Kafka.TLS.On() {
		l.warn("kafka.sasl", "switch on kafka.tls", "%s without TLS sends the secret readably", m)
	}
	if u, err := url.Parse(cfg.Redis.URL); err == nil {
		if _, has := u.User.Password(); has && cfg.Origin("redis.url").Layer != config.FromEnvironment {
			l.warn("redis.url", "use redis.password_file or SLUICE_REDIS_PASSWORD",
				"the URL in the configuration holds a password")
		}
	}
	if host, _, err := net.SplitHostPort(cfg.HTTP.Listen); err == nil {
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			l.warn("http.listen", "listen on 127.0.0.1, or allow only your monitoring with a network policy",
				"%s is reachable from other machines and has no authentication", cfg.HTTP.Listen)
		}
	}
	if cfg.HTTP.Pprof && cfg.HTTP.Listen != "off" {
		l.warn("http.pprof", "switch it off when the profile is taken", "profiles are served")
	}
	if cfg.Relay.Trim.Keep == config.Off {
		l.warn("relay.trim.keep", "set an age, or trim by other means and watch Redis's memory",
			"delivered entries are never removed: the streams grow without end")
	}
	c.checkAuditSettings(l)
	if cfg.Relay.OnMismatch == "continue" {
		l.warn("relay.on_mismatch", "leave it at halt unless availability is worth more than every event",
			"after a roll-back of Redis, entries whose IDs are used again are not delivered")
	}
	if cfg.Relay.Topics.OnChanged == "continue" {
		l.warn("relay.topics.on_changed", "leave it at halt unless availability is worth more than order",
			"when a topic gets partitions, the order of its keys is not kept across the change")
	}
	if len(cfg.Relay.Assign) > 0 {
		l.warn("relay.assign", "leave it out unless something else restarts relays on other machines",
			"shards are fixed to this relay: no other one takes them over")
	}
	if len(c.all) == before {
		n := 0
		for _, s := range config.Settings() {
			if cfg.Origin(s.Path).Layer != config.FromDefault {
				n++
			}
		}
		l.ok("settings", "%s; %d of %d settings are not at their default",
			strings.Join([]string{cfg.Relay.Delivery, cfg.Relay.Format}, ", "), n, len(config.Settings()))
	}
}
