package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisOptions says how to start a Redis.
type RedisOptions struct {
	// Name is used in messages and folder names; empty means "redis".
	Name string
	// Config holds lines of redis.conf, such as "appendfsync always" or "maxmemory 20mb". They come
	// after the package's own lines (append-only file on, fsync every second, no snapshots) and win.
	Config []string

	hostNetwork bool
	sentinel    bool
}

// Redis is one Redis or Valkey server.
type Redis struct {
	Server
	// Version is the product and its version, such as "Redis 7.0.15" or "Valkey 9.1.2".
	Version string

	dir    string
	copies int
	url    *redis.Options // set when the address came from the environment
}

var redisFinders = finders{
	what:  "Redis",
	image: redisImage,
	local: findRedisProgram,
	advice: `  apt-get install redis-server        # or: brew install redis
  export ` + envRedisBin + `=/path/to/redis-server    # or valkey-server
  # a server that tests may fill; those that break servers need their own:
  export ` + envRedis + `=127.0.0.1:6379
  start a Docker engine that has, or can pull, ` + redisImage(),
}

func redisImage() string {
	if image := os.Getenv(envRedisImage); image != "" {
		return image
	}
	return "redis:7.0"
}

// StartRedis starts a Redis of the caller's own and waits until it answers; it takes a tenth of a
// second on a local program. The caller ends it with Close.
func StartRedis(ctx context.Context, o RedisOptions) (*Redis, error) {
	p, err := redisFinders.find(ctx)
	if err != nil {
		return nil, err
	}
	r, err := newRedis(p, o)
	if err != nil {
		return nil, err
	}
	if err := r.startLocked(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	if r.Version, err = r.readVersion(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// newRedis prepares the server without starting it.
func newRedis(p place, o RedisOptions) (_ *Redis, err error) {
	r := &Redis{Server: Server{Name: o.Name, Origin: p.origin}}
	if r.Name == "" {
		r.Name = "redis"
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if r.dir, err = r.ownDir(); err != nil {
		return nil, err
	}
	port, err := r.ownPort()
	if err != nil {
		return nil, err
	}
	r.Addr = loopback(port)
	bind := "127.0.0.1"
	if p.origin == OriginDocker && !o.hostNetwork {
		bind = "0.0.0.0" // of the container, published on loopback
	}
	// A file rather than arguments: Sentinel makes servers rewrite their configuration, and they must
	// come back from a restart with what it wrote.
	conf := filepath.Join(r.dir, "redis.conf")
	lines := append(redisConfig(r.dir, bind, port, o.sentinel), o.Config...)
	if err = os.WriteFile(conf, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", r.Name, err)
	}
	if err = os.MkdirAll(r.dataDir(), 0o700); err != nil {
		return nil, fmt.Errorf("data of %s: %w", r.Name, err)
	}
	program := p.program
	if program == "" {
		program = "redis-server"
	}
	command := []string{program, conf}
	if o.sentinel {
		command = append(command, "--sentinel")
	}
	r.instance = newInstance(p, Spec{
		Name: r.Name, Image: p.image, Command: command,
		Dir: r.dir, Ports: []int{port}, HostNetwork: o.hostNetwork,
	})
	r.ready = r.ping
	return r, nil
}

func redisConfig(dir, bind string, port int, sentinel bool) []string {
	lines := []string{
		"bind " + bind,
		"protected-mode no",
		"port " + strconv.Itoa(port),
		"dir " + filepath.Join(dir, "data"),
		"daemonize no",
	}
	if sentinel {
		return lines
	}
	return append(lines, `save ""`, "appendonly yes", "appendfsync everysec",
		"repl-diskless-sync-delay 0")
}

func (r *Redis) dataDir() string { return filepath.Join(r.dir, "data") }

// Options are go-redis options for this server; the caller may change them.
func (r *Redis) Options() *redis.Options {
	if r.url != nil {
		o := *r.url
		return &o
	}
	return &redis.Options{Addr: r.Addr}
}

// Client returns a new client, which the caller closes.
func (r *Redis) Client() *redis.Client { return redis.NewClient(r.Options()) }

// probe runs fn with a client that neither retries nor waits long.
func (r *Redis) probe(ctx context.Context, fn func(context.Context, *redis.Client) error) error {
	o := r.Options()
	o.MaxRetries = -1
	o.DialTimeout, o.ReadTimeout = time.Second, 2*time.Second
	o.DialerRetries = 1
	c := redis.NewClient(o)
	return errors.Join(fn(ctx, c), c.Close())
}

// ping fails as well while the server loads its files.
func (r *Redis) ping(ctx context.Context) error {
	// Tried first without go-redis, which logs every refused connection.
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", r.Addr)
	if err != nil {
		return fmt.Errorf("ping %s: %w", r.Name, err)
	}
	if err := conn.Close(); err != nil {
		return fmt.Errorf("ping %s: %w", r.Name, err)
	}
	return r.probe(ctx, func(ctx context.Context, c *redis.Client) error { return c.Ping(ctx).Err() })
}

// readVersion asks the server who it is.
func (r *Redis) readVersion(ctx context.Context) (version string, err error) {
	err = r.probe(ctx, func(ctx context.Context, c *redis.Client) error {
		info, err := c.Info(ctx, "server").Result()
		version = parseRedisVersion(info)
		return err
	})
	return version, err
}

// parseRedisVersion reads INFO server. Valkey gives in redis_version the Redis it is compatible
// with.
func parseRedisVersion(info string) string {
	fields := infoFields(info)
	if v := fields["valkey_version"]; v != "" {
		return "Valkey " + v
	}
	return "Redis " + fields["redis_version"]
}

// infoFields takes apart what INFO and CLUSTER INFO answer.
func infoFields(info string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(info) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ":")
		fields[k] = v
	}
	return fields
}
