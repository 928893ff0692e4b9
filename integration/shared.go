package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Shared is the pair of servers that all tests of a process use.
type Shared struct {
	Redis *Redis
	Kafka *Kafka
}

var shared struct {
	sync.Mutex
	started bool
	servers *Shared
	err     error
}

// SharedServers is [Servers] for programs that are not tests; they end it with [CloseShared]. A
// failure is kept: the next call does not try again.
func SharedServers() (*Shared, error) {
	shared.Lock()
	defer shared.Unlock()
	if !shared.started {
		shared.started = true
		shared.servers, shared.err = startShared(context.Background())
	}
	return shared.servers, shared.err
}

// CloseShared ends the shared servers, if there are any, and removes what [BuildSluice] built. Servers
// from the environment go on.
func CloseShared() error {
	return errors.Join(closeServers(), removeBuilt())
}

func closeServers() error {
	shared.Lock()
	defer shared.Unlock()
	s := shared.servers
	shared.servers, shared.err = nil, errors.New("integration: the shared servers were closed")
	if s == nil {
		return nil
	}
	return errors.Join(s.Kafka.Close(), s.Redis.Close())
}

func startShared(ctx context.Context) (*Shared, error) {
	r, err := anyRedis(ctx)
	if err != nil {
		return nil, err
	}
	k, err := anyKafka(ctx)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	s := &Shared{Redis: r, Kafka: k}
	s.report()
	return s, nil
}

// anyRedis returns the Redis of the environment, or one of its own.
func anyRedis(ctx context.Context) (*Redis, error) {
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

// anyKafka returns the Kafka of the environment, or one of its own.
func anyKafka(ctx context.Context) (*Kafka, error) {
	addrs := os.Getenv(envKafka)
	if ok, err := fromEnv(addrs, envKafka); !ok || err != nil {
		if err != nil {
			return nil, err
		}
		return StartKafka(ctx, KafkaOptions{})
	}
	k := &Kafka{Origin: OriginEnv}
	for addr := range strings.SplitSeq(addrs, ",") {
		k.Brokers = append(k.Brokers, &Broker{Server: Server{Name: "kafka", Origin: OriginEnv, Addr: strings.TrimSpace(addr)}})
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

// report says which servers are used: on standard error, which go test shows with -v, and at the end
// of the file SLUICE_TEST_REPORT, which the Makefile shows in any case.
func (s *Shared) report() {
	line := fmt.Sprintf("servers: %s (%s), %s (%s)\n", s.Redis.Version, s.Redis.Origin, s.Kafka.Version, s.Kafka.Origin)
	fmt.Fprint(os.Stderr, line)
	name := os.Getenv(envReport)
	if name == "" {
		return
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = io.WriteString(f, line)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "integration: %s: %v\n", envReport, err)
	}
}
