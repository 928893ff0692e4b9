package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

// SentinelOptions says what to start around a master.
type SentinelOptions struct {
	// Replicas is the number of replicas; 0 means 1.
	Replicas int
	// Sentinels is the number of sentinels; 0 means 3. A majority of them agrees on a failover.
	Sentinels int
	// DownAfter is how long a master must be silent to be taken for dead; 0 means one second.
	DownAfter time.Duration
	// Config holds lines of redis.conf for master and replicas.
	Config []string
}

// Sentinel is a Redis master with replicas, watched by sentinels.
type Sentinel struct {
	Version string
	// MasterName is the name under which sentinels know the master.
	MasterName string
	// Redis are the servers; which of them is the master changes: [Sentinel.Master].
	Redis []*Redis
	// Sentinels are the watchers.
	Sentinels []*Redis
}

// StartSentinel starts servers and sentinels and waits until every replica follows and every
// sentinel knows all others; it takes about three seconds. The caller ends it with Close.
func StartSentinel(ctx context.Context, o SentinelOptions) (*Sentinel, error) {
	p, err := redisFinders.find(ctx)
	if err != nil {
		return nil, err
	}
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.Sentinels == 0 {
		o.Sentinels = 3
	}
	if o.DownAfter == 0 {
		o.DownAfter = time.Second
	}
	s := &Sentinel{MasterName: "sluice"}
	if err := s.start(ctx, p, o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Sentinel) start(ctx context.Context, p place, o SentinelOptions) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for i := range 1 + o.Replicas {
		config := o.Config
		if i > 0 {
			config = append([]string{"replicaof " + hostAndPort(s.Redis[0])}, config...)
		}
		r, err := startNode(ctx, p, RedisOptions{Name: fmt.Sprintf("redis-%d", i+1), Config: config})
		if r != nil {
			s.Redis = append(s.Redis, r)
		}
		if err != nil {
			return err
		}
	}
	for i := range o.Sentinels {
		r, err := startNode(ctx, p, RedisOptions{
			Name: fmt.Sprintf("sentinel-%d", i+1), sentinel: true,
			Config: []string{
				fmt.Sprintf("sentinel monitor %s %s %d", s.MasterName, hostAndPort(s.Redis[0]),
					o.Sentinels/2+1),
				fmt.Sprintf("sentinel down-after-milliseconds %s %d", s.MasterName, o.DownAfter.Milliseconds()),
				// The time between two attempts; the default of three minutes outlasts every test.
				fmt.Sprintf("sentinel failover-timeout %s 10000", s.MasterName),
			},
		})
		if r != nil {
			s.Sentinels = append(s.Sentinels, r)
		}
		if err != nil {
			return err
		}
	}
	var err error
	if s.Version, err = s.Redis[0].readVersion(ctx); err != nil {
		return err
	}
	for _, r := range s.Sentinels {
		if err := awaitReady(ctx, r.Name, r.instance, func(ctx context.Context) error {
			return s.knowsAll(ctx, r, o)
		}); err != nil {
			return err
		}
	}
	return nil
}

// startNode returns the server also when it could not be started, so that it can be closed.
func startNode(ctx context.Context, p place, o RedisOptions) (*Redis, error) {
	o.hostNetwork = true
	r, err := newRedis(p, o)
	if err != nil {
		return nil, err
	}
	return r, r.startLocked(ctx)
}

// hostAndPort is the address as redis.conf wants it.
func hostAndPort(r *Redis) string {
	host, port, err := net.SplitHostPort(r.Addr)
	if err != nil {
		return r.Addr
	}
	return host + " " + port
}

// knowsAll succeeds when the sentinel can carry out a failover: it knows its colleagues, and all
// replicas are connected to the master.
func (s *Sentinel) knowsAll(ctx context.Context, r *Redis, o SentinelOptions) error {
	return s.ask(ctx, r, func(ctx context.Context, c *redis.SentinelClient) error {
		m, err := c.Master(ctx, s.MasterName).Result()
		if err != nil {
			return err
		}
		if m["num-slaves"] != fmt.Sprint(o.Replicas) ||
			m["num-other-sentinels"] != fmt.Sprint(o.Sentinels-1) {
			return fmt.Errorf("%s knows %s replicas and %s other sentinels", r.Name, m["num-slaves"],
				m["num-other-sentinels"])
		}
		replicas, err := c.Replicas(ctx, s.MasterName).Result()
		if err != nil {
			return err
		}
		for _, replica := range replicas {
			if replica["master-link-status"] != "ok" {
				return fmt.Errorf("replica %s: link %s", replica["name"], replica["master-link-status"])
			}
		}
		return nil
	})
}

func (s *Sentinel) ask(ctx context.Context, r *Redis,
	fn func(context.Context, *redis.SentinelClient) error,
) error {
	o := r.Options()
	o.MaxRetries, o.DialerRetries = -1, 1
	c := redis.NewSentinelClient(o)
	return errors.Join(fn(ctx, c), c.Close())
}

// Master returns the server that the first living sentinel takes for the master at this moment.
func (s *Sentinel) Master(ctx context.Context) (*Redis, error) {
	var errs []error
	for _, watcher := range s.Sentinels {
		var addr []string
		err := s.ask(ctx, watcher, func(ctx context.Context, c *redis.SentinelClient) (err error) {
			addr, err = c.GetMasterAddrByName(ctx, s.MasterName).Result()
			return err
		})
		if err != nil || len(addr) != 2 {
			errs = append(errs, fmt.Errorf("%s: address %q: %w", watcher.Name, addr, err))
			continue
		}
		for _, r := range s.Redis {
			if r.Addr == net.JoinHostPort(addr[0], addr[1]) {
				return r, nil
			}
		}
	}
	return nil, fmt.Errorf("no sentinel knows the master: %w", errors.Join(errs...))
}

// Failover has the sentinels promote a replica and waits until it serves as master. The old master
// lives and becomes its replica; to have it fail, kill the [Sentinel.Master] and call
// AwaitFailover.
func (s *Sentinel) Failover(ctx context.Context) (*Redis, error) {
	old, err := s.Master(ctx)
	if err != nil {
		return nil, err
	}
	err = s.ask(ctx, s.Sentinels[0], func(ctx context.Context, c *redis.SentinelClient) error {
		return c.Failover(ctx, s.MasterName).Err()
	})
	if err != nil {
		return nil, fmt.Errorf("failover: %w", err)
	}
	return s.AwaitFailover(ctx, old)
}

// AwaitFailover waits until another server than old is the master, and says so itself.
func (s *Sentinel) AwaitFailover(ctx context.Context, old *Redis) (*Redis, error) {
	for {
		master, err := s.Master(ctx)
		if err == nil && master != old {
			if err = master.isMaster(ctx); err == nil {
				return master, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("no failover from %s: %w (%w)", old.Name, ctx.Err(), err)
		case <-tick():
		}
	}
}

func (r *Redis) isMaster(ctx context.Context) error {
	return r.probe(ctx, func(ctx context.Context, c *redis.Client) error {
		info, err := c.Info(ctx, "replication").Result()
		if err != nil {
			return err
		}
		if role := infoFields(info)["role"]; role != "master" {
			return fmt.Errorf("%s is a %s", r.Name, role)
		}
		return nil
	})
}

// Options are go-redis options for a client that asks the sentinels; the caller may change them.
func (s *Sentinel) Options() *redis.FailoverOptions {
	addrs := make([]string, 0, len(s.Sentinels))
	for _, r := range s.Sentinels {
		addrs = append(addrs, r.Addr)
	}
	return &redis.FailoverOptions{MasterName: s.MasterName, SentinelAddrs: addrs}
}

// Close ends sentinels and servers.
func (s *Sentinel) Close() error {
	var errs []error
	for _, all := range [][]*Redis{s.Sentinels, s.Redis} {
		for _, r := range all {
			errs = append(errs, r.Close())
		}
	}
	return errors.Join(errs...)
}
