package preflight

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/config"
)

// node is one master that holds shards.
type node struct {
	name   string // "" if there is only one
	client *redis.Client
	info   map[string]string
}

// label names a finding about the node.
func (n node) label(what string) string {
	if n.name == "" {
		return what
	}
	return what + " " + n.name
}

// checkRedis reports whether Redis answers at all.
func (c *checker) checkRedis(ctx context.Context) bool {
	l := c.area("redis")
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := c.redis.Ping(ctx).Err(); err != nil {
		l.fail("reachable", hint(err, "redis"), "%s does not answer: %v", config.RedisName(c.cfg), err)
		return false
	}
	l.ok("reachable", "%s", config.RedisName(c.cfg))
	nodes, err := c.nodes(ctx)
	if err != nil {
		l.unknown("servers", err,
			"allow INFO and CLUSTER SLOTS to this user, or check versions and persistence by hand")
		return true
	}
	for _, n := range nodes {
		c.checkNode(ctx, l, n)
	}
	c.checkClock(ctx, l)
	return true
}

// hint is what to do about an error of connecting.
func hint(err error, section string) string {
	switch text := err.Error(); {
	case strings.Contains(text, "WRONGPASS"), strings.Contains(text, "NOAUTH"),
		strings.Contains(text, "SASL"):
		return "it refuses these credentials: check the user and the password of the section " + section
	case strings.Contains(text, "NOPERM"):
		return "the user is not allowed to do this: extend its ACL"
	case strings.Contains(text, "certificate"), strings.Contains(text, "tls: "),
		strings.Contains(text, "EOF"):
		return fmt.Sprintf("check %s.tls: does the server speak TLS, and who has signed its certificate?",
			section)
	case strings.Contains(text, "no such host"):
		return "the name cannot be resolved: check the address in the section " + section
	case strings.Contains(text, "READONLY"), strings.Contains(text, "MASTERDOWN"),
		strings.Contains(text, "LOADING"), strings.Contains(text, "CLUSTERDOWN"):
		return "the server is up and not ready: wait, or see its own log"
	}
	return "is it running, is the address right, does a firewall stand between?"
}

// nodes asks each master for INFO.
func (c *checker) nodes(ctx context.Context) ([]node, error) {
	var nodes []node
	var mu sync.Mutex
	ask := func(ctx context.Context, name string, client *redis.Client) error {
		text, err := client.Info(ctx).Result()
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		nodes = append(nodes, node{name: name, client: client, info: parseInfo(text)})
		return nil
	}
	switch client := c.redis.(type) {
	case *redis.ClusterClient:
		err := client.ForEachMaster(ctx, func(ctx context.Context, m *redis.Client) error {
			return ask(ctx, m.Options().Addr, m)
		})
		slices.SortFunc(nodes, func(a, b node) int { return strings.Compare(a.name, b.name) })
		return nodes, err
	case *redis.Client:
		return nodes, ask(ctx, "", client)
	}
	return nil, fmt.Errorf("unknown kind of client %T", c.redis)
}

func parseInfo(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[k] = v
		}
	}
	return info
}

func (c *checker) checkNode(ctx context.Context, l list, n node) {
	c.checkVersion(l, n)
	if role := n.info["role"]; role != "" && role != "master" {
		l.fail(n.label("role"), "point redis.url to the master, or use redis.sentinel",
			"this server is a %s: it cannot be written to", role)
	} else if role != "" {
		l.ok(n.label("role"), "master with %s connected", replicas(n.info["connected_slaves"]))
	}
	_, cluster := c.redis.(*redis.ClusterClient)
	if enabled := n.info["cluster_enabled"]; enabled == "1" && !cluster {
		l.fail(n.label("cluster"), "use redis.addrs instead of redis.url",
			"this server is a node of a cluster: most shards live elsewhere")
	}
	c.checkEviction(l, n)
	c.checkPersistence(ctx, l, n)
}

func replicas(n string) string {
	switch n {
	case "", "0":
		return "no replica"
	case "1":
		return "1 replica"
	}
	return n + " replicas"
}

func (c *checker) checkVersion(l list, n node) {
	name, version := "Redis", n.info["redis_version"]
	if v := n.info["valkey_version"]; v != "" {
		// Valkey also gives the version of Redis whose commands it has.
		name, version = "Valkey", v
	}
	major, _, _ := strings.Cut(n.info["redis_version"], ".")
	number, err := strconv.Atoi(major)
	switch {
	case err != nil:
		l.warn(n.label("version"), "run Redis 7.0 or newer, or Valkey",
			"the server does not tell its version")
	case number < 7:
		l.fail(n.label("version"), "upgrade to Redis 7.0 or newer, or Valkey",
			"%s %s: before 7.0 streams do not count the entries added, so neither lag nor lost entries "+
				"can be known, and there is no XGROUP SETID ENTRIESREAD", name, version)
	default:
		l.ok(n.label("version"), "%s %s", name, version)
	}
}

func (c *checker) checkEviction(l list, n node) {
	policy, limit := n.info["maxmemory_policy"], n.info["maxmemory"]
	human := n.info["maxmemory_human"]
	switch {
	case policy == "":
		l.warn(n.label("eviction"), "make sure that maxmemory-policy is noeviction",
			"the server does not tell its maxmemory-policy")
	case policy == "noeviction":
		if limit == "0" {
			l.ok(n.label("eviction"), "noeviction, no memory limit")
		} else {
			l.ok(n.label("eviction"), "noeviction at %s: a full outbox refuses appends, and loses nothing",
				human)
		}
	case strings.HasPrefix(policy, "allkeys") && limit != "0":
		l.fail(n.label("eviction"), "set maxmemory-policy to noeviction",
			"%s at %s: Redis may delete a whole stream of events to make room", policy, human)
	case strings.HasPrefix(policy, "allkeys"):
		l.warn(n.label("eviction"), "set maxmemory-policy to noeviction",
			"%s: harmless only as long as there is no maxmemory", policy)
	default:
		l.warn(n.label("eviction"), "set maxmemory-policy to noeviction",
			"%s: streams are safe, idempotency markers may be evicted and a repeated append then appends "+
				"twice", policy)
	}
}

func (c *checker) checkPersistence(ctx context.Context, l list, n node) {
	const fix = "set appendonly yes, and appendfsync always if no acknowledged event may be lost"
	switch n.info["aof_enabled"] {
	case "1":
	case "0":
		l.warn(n.label("persistence"), fix,
			"the append-only file is off: a restart loses what came after the last snapshot, and shards "+
				"halt because their stream was rolled back")
		return
	default:
		l.warn(n.label("persistence"), fix, "the server does not tell whether it has an append-only file")
		return
	}
	if n.info["aof_last_write_status"] == "err" {
		l.fail(n.label("persistence"), "see the server's log: its disk may be full",
			"writing the append-only file fails: Redis refuses writes")
		return
	}
	got, err := n.client.ConfigGet(ctx, "appendfsync").Result()
	switch fsync := got["appendfsync"]; {
	case err != nil || fsync == "":
		l.ok(n.label("persistence"), "append-only file is on; appendfsync is not readable for this user")
	case fsync == "no":
		l.warn(n.label("persistence"), fix,
			"appendfsync no: a crash of the machine can lose tens of seconds of acknowledged events")
	case fsync == "everysec":
		l.ok(n.label("persistence"),
			"appendonly, appendfsync everysec: a crash of the machine can lose about a second, which is "+
				"detected")
	default:
		l.ok(n.label("persistence"), "appendonly, appendfsync %s", fsync)
	}
}

// skewNoted is a difference of clocks that people should know when they read ages and latencies.
const skewNoted = time.Second

// checkClock informs: no promise rests on a clock.
func (c *checker) checkClock(ctx context.Context, l list) {
	before := time.Now()
	server, err := c.redis.Time(ctx).Result()
	if err != nil {
		return // informational
	}
	half := time.Since(before) / 2
	skew := server.Sub(before.Add(half)).Round(time.Millisecond)
	if skew.Abs() > skewNoted {
		l.warn("clock", "synchronise the clocks (NTP)",
			"Redis's clock differs by %s from this machine's: latencies and ages are off by that, "+
				"delivery is not affected", skew)
		return
	}
	l.ok("clock", "within %s of this machine's", max(skew.Abs(), half).Round(time.Millisecond))
}
