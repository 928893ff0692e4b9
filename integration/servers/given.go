package servers

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/redis/go-redis/v9"
)

// AnyRedis returns the Redis of the environment, or one of its own.
func AnyRedis(ctx context.Context) (*Redis, error) {
	addr := os.Getenv(envRedis)
	if ok, err := fromEnv(addr, envRedis); !ok || err != nil {
		if err != nil {
			return nil, err
		}
		return StartRedis(ctx, RedisOptions{})
	}
	r := &Redis{Server: Server{Name: "redis", Origin: OriginEnv, Addr: addr}}
	if strings.Contains(addr, "://") {
		o, err := redis.ParseURL(addr)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", envRedis, err)
		}
		r.url, r.Addr = o, o.Addr
	}
	var err error
	if r.Version, err = r.readVersion(ctx); err != nil {
		return nil, fmt.Errorf("%s: Redis at %s: %w", envRedis, r.Addr, err)
	}
	return r, nil
}

// AnyKafka returns the Kafka of the environment, or one of its own.
func AnyKafka(ctx context.Context) (*Kafka, error) {
	addrs := os.Getenv(envKafka)
	if ok, err := fromEnv(addrs, envKafka); !ok || err != nil {
		if err != nil {
			return nil, err
		}
		return StartKafka(ctx, KafkaOptions{})
	}
	k := &Kafka{Origin: OriginEnv}
	for addr := range strings.SplitSeq(addrs, ",") {
		k.Brokers = append(k.Brokers,
			&Broker{Server: Server{Name: "kafka", Origin: OriginEnv, Addr: strings.TrimSpace(addr)}})
	}
	ctx, cancel := context.WithTimeout(ctx, 2*probeTimeout)
	defer cancel()
	if err := k.Brokers[0].serves(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", envKafka, err)
	}
	var err error
	k.Version, err = readKafkaVersion(ctx, k.Addrs(), "")
	return k, err
}

// fromEnv tells whether the address is to be used. A server that was named but does not work is an
// error rather than a reason to look further: whoever named it wants that one.
func fromEnv(addr, name string) (bool, error) {
	order, err := origins()
	if err != nil {
		return false, err
	}
	if order[0] != OriginEnv {
		return false, nil
	}
	if addr == "" && len(order) == 1 {
		return false, fmt.Errorf("%s=env, but %s is not set", envServers, name)
	}
	return addr != "", nil
}
