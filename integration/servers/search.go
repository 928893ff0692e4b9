package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// The environment variables that steer the search.
const (
	envServers      = "SLUICE_TEST_SERVERS"
	envRedis        = "SLUICE_TEST_REDIS"
	envKafka        = "SLUICE_TEST_KAFKA"
	envRedisBin     = "SLUICE_TEST_REDIS_BIN"
	envRedisImage   = "SLUICE_TEST_REDIS_IMAGE"
	envKafkaImage   = "SLUICE_TEST_KAFKA_IMAGE"
	envKafkaLibs    = "SLUICE_TEST_KAFKA_LIBS"
	envKafkaVersion = "SLUICE_TEST_KAFKA_VERSION"
)

const defaultKafkaVersion = "4.3.0"

// startTimeout bounds one start of one server, pulling an image not included. A server that ends
// while starting is noticed at once; this is for one that hangs, on a machine that may be very
// busy.
const startTimeout = 3 * time.Minute

func kafkaVersion() string {
	if v := os.Getenv(envKafkaVersion); v != "" {
		return v
	}
	return defaultKafkaVersion
}

// origins returns what may be tried, in order.
func origins() ([]Origin, error) {
	switch forced := Origin(os.Getenv(envServers)); forced {
	case "":
		return []Origin{OriginEnv, OriginDocker, OriginLocal}, nil
	case OriginEnv, OriginDocker, OriginLocal:
		return []Origin{forced}, nil
	default:
		return nil, fmt.Errorf("%s=%q: want env, docker or local", envServers, string(forced))
	}
}

// Origin says where a server comes from.
type Origin string

// The origins, in the order in which they are tried.
const (
	OriginEnv    Origin = "env"
	OriginDocker Origin = "docker"
	OriginLocal  Origin = "local"
)

// place is where a server can be started: an image of the engine, or a program of this machine.
type place struct {
	origin Origin
	image  string
	// program is the server of a local Redis, or the java of a local Kafka.
	program string
	// libs is the folder of a local Kafka's jars.
	libs string
}

// finders looks for one kind of server in the places where one can be started.
type finders struct {
	what   string
	image  func() string
	local  func(context.Context) (place, error)
	advice string
}

// find returns the first place that works, in the order of the search. The error lists what was
// tried, why it did not do, and the commands that would help.
func (f finders) find(ctx context.Context) (place, error) {
	order, err := origins()
	if err != nil {
		return place{}, err
	}
	var tried []error
	for _, o := range order {
		var p place
		switch o {
		case OriginEnv:
			err = errors.New("this needs a server of its own, which an address cannot give")
		case OriginDocker:
			p, err = f.inEngine(ctx)
		case OriginLocal:
			p, err = f.local(ctx)
		}
		if err == nil {
			return p, nil
		}
		tried = append(tried, fmt.Errorf("%s: %w", o, err))
	}
	return place{}, f.notFound(tried)
}

func (f finders) inEngine(ctx context.Context) (place, error) {
	e := engine.Load()
	if e == nil {
		return place{}, errors.New("only the integration tests start containers")
	}
	image := f.image()
	return place{origin: OriginDocker, image: image}, (*e).Find(ctx, image)
}

func (f finders) notFound(tried []error) error {
	lines := make([]any, 0, len(tried))
	for _, t := range tried {
		lines = append(lines, t)
	}
	return fmt.Errorf("no %s can be started:"+strings.Repeat("\n  - %w",
		len(tried))+"\nWhat helps:\n%s",
		append(append([]any{f.what}, lines...), f.advice)...)
}

// tick is the pause between two looks at a server that is starting.
func tick() <-chan time.Time { return time.After(25 * time.Millisecond) }
