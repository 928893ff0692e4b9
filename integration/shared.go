package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/sluice-outbox/sluice/integration/servers"
)

// envReport names a file that gets a line about the servers that were used.
const envReport = "SLUICE_TEST_REPORT"

// Shared is the pair of servers that all tests of a process use.
type Shared struct {
	Redis *servers.Redis
	Kafka *servers.Kafka
}

var shared struct {
	sync.Mutex
	started bool
	pair    *Shared
	err     error
}

// SharedServers is [Servers] for programs that are not tests; they end it with [CloseShared]. A
// failure is kept: the next call does not try again.
func SharedServers() (*Shared, error) {
	shared.Lock()
	defer shared.Unlock()
	if !shared.started {
		shared.started = true
		shared.pair, shared.err = startShared(context.Background())
	}
	return shared.pair, shared.err
}

// CloseShared ends the shared servers, if there are any, and removes what [BuildSluice] built.
// Servers from the environment go on.
func CloseShared() error {
	return errors.Join(closePair(), removeBuilt())
}

func closePair() error {
	shared.Lock()
	defer shared.Unlock()
	s := shared.pair
	shared.pair, shared.err = nil, errors.New("integration: the shared servers were closed")
	if s == nil {
		return nil
	}
	return errors.Join(s.Kafka.Close(), s.Redis.Close())
}

func startShared(ctx context.Context) (*Shared, error) {
	r, err := servers.AnyRedis(ctx)
	if err != nil {
		return nil, err
	}
	k, err := servers.AnyKafka(ctx)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	s := &Shared{Redis: r, Kafka: k}
	s.report()
	return s, nil
}

// report says which servers are used: on standard error, which go test shows with -v, and at the
// end of the file SLUICE_TEST_REPORT, which the Makefile shows in any case.
func (s *Shared) report() {
	line := fmt.Sprintf("servers: %s (%s), %s (%s)\n", s.Redis.Version, s.Redis.Origin,
		s.Kafka.Version, s.Kafka.Origin)
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
