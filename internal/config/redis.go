package config

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// RedisClient makes the client of the configured deployment. It does no I/O except to read the
// named files; an *Error says which setting is wrong. The caller closes the client.
func RedisClient(c *Config) (redis.UniversalClient, error) {
	opts, err := c.redisOptions()
	if err != nil {
		return nil, err
	}
	switch {
	case c.Redis.Sentinel.Master != "":
		return redis.NewFailoverClient(opts.Failover()), nil
	case len(c.Redis.Addrs) > 0:
		return redis.NewClusterClient(opts.Cluster()), nil
	default:
		return redis.NewClient(opts.Simple()), nil
	}
}

func (c *Config) redisOptions() (*redis.UniversalOptions, error) {
	r := &c.Redis
	opts := &redis.UniversalOptions{
		Addrs: r.Addrs,
		DB:    r.DB,
		// A relay wants two connections a shard; see relay.Config.
		PoolSize: max(32, 2*c.Outbox.Shards+8),
		// Commands of the command line give up when their context does.
		ContextTimeoutEnabled: true,
		// Maintenance notifications are a feature of one hosted service, announced by a command that
		// other servers refuse.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	user, password, tlsOn := r.Username, r.Password, r.TLS.On()
	unix := ""
	if r.URL != "" {
		u, err := url.Parse(r.URL)
		if err != nil {
			return nil, c.Problemf("redis.url", "is not a URL")
		}
		if user == "" {
			user = u.User.Username()
		}
		if p, ok := u.User.Password(); ok && password == "" && r.PasswordFile == "" {
			password = p
		}
		switch u.Scheme {
		case "unix":
			unix = u.Path
			opts.Addrs = []string{u.Path}
		default:
			opts.Addrs = []string{hostPort(u, "6379")}
			if db := strings.Trim(u.Path, "/"); db != "" {
				if opts.DB, err = strconv.Atoi(db); err != nil {
					return nil, c.Problemf("redis.url", "the database %q is not a number", db)
				}
			}
			tlsOn = tlsOn || u.Scheme == "rediss"
		}
	}
	read, err := c.secret("redis.password", password, r.PasswordFile)
	if err != nil {
		return nil, err
	}
	if user != "" || password != "" || r.PasswordFile != "" {
		opts.CredentialsProviderContext = func(context.Context) (string, string, error) {
			p, err := read()
			return user, p, err
		}
	}
	if r.Sentinel.Master != "" {
		opts.MasterName, opts.Addrs = r.Sentinel.Master, r.Sentinel.Addrs
		readSentinel, err := c.secret("redis.sentinel.password", r.Sentinel.Password,
			r.Sentinel.PasswordFile)
		if err != nil {
			return nil, err
		}
		opts.SentinelUsername = r.Sentinel.Username
		if opts.SentinelPassword, err = readSentinel(); err != nil {
			return nil, c.Problemf("redis.sentinel.password_file", "%v", err)
		}
	}
	dial, err := c.dialer("redis.tls", r.TLS, tlsOn)
	if err != nil {
		return nil, err
	}
	opts.Dialer = dial
	if unix != "" {
		opts.Dialer = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dial(ctx, "unix", unix)
		}
	}
	return opts, nil
}

// redisDB is the database of the outbox, as the path of a URL has it.
func (c *Config) redisDB() string {
	if u, err := url.Parse(c.Redis.URL); err == nil && c.Redis.URL != "" && u.Scheme != "unix" {
		return strings.Trim(u.Path, "/")
	}
	return strconv.Itoa(c.Redis.DB)
}

func hostPort(u *url.URL, port string) string {
	if p := u.Port(); p != "" {
		port = p
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// RedisName names the deployment in messages, without secrets: "Redis at localhost:6379".
func RedisName(c *Config) string {
	switch r := &c.Redis; {
	case r.Sentinel.Master != "":
		return fmt.Sprintf("Redis master %s (sentinels %s)", r.Sentinel.Master,
			strings.Join(r.Sentinel.Addrs, ", "))
	case len(r.Addrs) > 0:
		return "Redis Cluster at " + strings.Join(r.Addrs, ", ")
	default:
		u, err := url.Parse(r.URL)
		if err != nil {
			return "Redis"
		}
		if u.Scheme == "unix" {
			return "Redis at " + u.Path
		}
		return "Redis at " + hostPort(u, "6379")
	}
}

// KafkaName names the cluster in messages.
func KafkaName(c *Config) string { return "Kafka at " + strings.Join(c.Kafka.Brokers, ", ") }
