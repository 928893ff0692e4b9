package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// slots is the number of hash slots of every Redis Cluster.
const slots = 16384

// RedisCluster is a Redis Cluster of masters without replicas, each with a third of the slots.
type RedisCluster struct {
	Version string
	Nodes   []*Redis
}

// StartRedisCluster starts three masters, gives them the slots and waits until each of them says
// that the cluster is fine; it takes about three seconds. The options hold for each node. The
// caller ends it with Close. It needs Redis 7.0 or newer, or Valkey.
func StartRedisCluster(ctx context.Context, o RedisOptions) (*RedisCluster, error) {
	p, err := redisFinders.find(ctx)
	if err != nil {
		return nil, err
	}
	c := &RedisCluster{}
	if err := c.start(ctx, p, o); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *RedisCluster) start(ctx context.Context, p place, o RedisOptions) error {
	const masters = 3
	if o.Name == "" {
		o.Name = "redis-cluster"
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	buses := make([]int, masters)
	for i := range masters {
		bus, err := holdPort()
		if err != nil {
			return err
		}
		buses[i] = bus.port
		node := o
		node.Name = fmt.Sprintf("%s-%d", o.Name, i+1)
		node.hostNetwork = true
		node.Config = append([]string{
			"cluster-enabled yes",
			"cluster-config-file nodes.conf",
			"cluster-port " + strconv.Itoa(bus.port),
			"cluster-node-timeout 2000",
		}, o.Config...)
		r, err := newRedis(p, node)
		if err != nil {
			bus.release()
			return err
		}
		r.cleanup = append(r.cleanup, func() error { bus.release(); return nil })
		c.Nodes = append(c.Nodes, r)
		if err := r.startLocked(ctx); err != nil {
			return err
		}
	}
	var err error
	if c.Version, err = c.Nodes[0].readVersion(ctx); err != nil {
		return err
	}
	if err := c.join(ctx, buses); err != nil {
		return err
	}
	// A restarted node answers at once but serves only when it has met the others again.
	for _, r := range c.Nodes {
		r.ready = r.inCluster
	}
	return c.await(ctx)
}

// join shares out the slots and makes the nodes known to each other.
func (c *RedisCluster) join(ctx context.Context, buses []int) error {
	n := len(c.Nodes)
	for i, r := range c.Nodes {
		first, last := i*slots/n, (i+1)*slots/n-1
		err := r.probe(ctx, func(ctx context.Context, client *redis.Client) error {
			// Different epochs from the start: nodes that meet with the same one settle it by a
			// collision, which takes time.
			if err := client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
				return err
			}
			if err := client.ClusterAddSlotsRange(ctx, first, last).Err(); err != nil {
				return err
			}
			if i == 0 {
				return nil
			}
			host, port, err := net.SplitHostPort(c.Nodes[0].Addr)
			if err != nil {
				return err
			}
			return client.Do(ctx, "CLUSTER", "MEET", host, port, buses[0]).Err()
		})
		if err != nil {
			return fmt.Errorf("join %s to the cluster: %w", r.Name, err)
		}
	}
	return nil
}

func (c *RedisCluster) await(ctx context.Context) error {
	for _, r := range c.Nodes {
		if err := awaitReady(ctx, r.Name, r.instance, r.ready); err != nil {
			return err
		}
	}
	return nil
}

// inCluster succeeds when the node sees all slots served.
func (r *Redis) inCluster(ctx context.Context) error {
	if err := r.ping(ctx); err != nil {
		return err
	}
	return r.probe(ctx, func(ctx context.Context, client *redis.Client) error {
		info, err := client.ClusterInfo(ctx).Result()
		if err != nil {
			return err
		}
		fields := infoFields(info)
		if fields["cluster_state"] != "ok" || fields["cluster_slots_ok"] != strconv.Itoa(slots) {
			return fmt.Errorf("cluster state %s with %s slots", fields["cluster_state"],
				fields["cluster_slots_ok"])
		}
		return nil
	})
}

// Addrs are the addresses of the nodes.
func (c *RedisCluster) Addrs() []string {
	addrs := make([]string, 0, len(c.Nodes))
	for _, r := range c.Nodes {
		addrs = append(addrs, r.Addr)
	}
	return addrs
}

// Options are go-redis options for the cluster; the caller may change them.
func (c *RedisCluster) Options() *redis.ClusterOptions {
	return &redis.ClusterOptions{Addrs: c.Addrs()}
}

// Close ends all nodes.
func (c *RedisCluster) Close() error {
	var errs []error
	for _, r := range c.Nodes {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}
