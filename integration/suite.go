package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/integration/servers"
)

// TB is the part of [testing.TB] that this package uses, so that programs that are not tests can
// import it without the testing package.
type TB interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
	Failed() bool
}

// envSeed repeats a run.
const envSeed = "SLUICE_TEST_SEED"

// Main runs a package's tests and then ends the shared servers:
//
//	func TestMain(m *testing.M) { integration.Main(m) }
func Main(m interface{ Run() int }) {
	code := m.Run()
	if err := CloseShared(); err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// Servers returns the Redis and the Kafka that all tests of this process share, and starts them
// first if nobody has. They must not be broken, flushed or filled without end; a test that does
// that starts its own. The test fails when there is no server.
func Servers(t TB) *Shared {
	t.Helper()
	s, err := SharedServers()
	if err != nil {
		t.Fatalf("%v", err)
	}
	return s
}

// RedisClient returns a client that is closed when the test ends. change, if not nil, may adapt its
// options.
func RedisClient(t TB, r *servers.Redis, change func(*redis.Options)) *redis.Client {
	t.Helper()
	o := r.Options()
	if change != nil {
		change(o)
	}
	c := redis.NewClient(o)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Logf("close Redis client: %v", err)
		}
	})
	return c
}

// KafkaClient returns a client that is closed when the test ends.
func KafkaClient(t TB, k *servers.Kafka, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := k.Client(opts...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(c.Close)
	return c
}

var prefixes atomic.Int64

// Prefix returns a name that no other test of this or another process uses. It is valid as the name
// of an outbox and meant to be part of every key, topic, group and transactional id that the test
// makes.
func Prefix(t TB) string {
	t.Helper()
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		default:
			return '-'
		}
	}, t.Name())
	if len(name) > 40 {
		name = name[:40]
	}
	return fmt.Sprintf("%s-%s-%d-%d", name, strconv.FormatInt(time.Now().UnixMicro(), 36), os.Getpid(),
		prefixes.Add(1))
}

// Seed returns a source of random numbers and logs its seed. SLUICE_TEST_SEED repeats a run as far
// as the machine's own timing allows.
func Seed(t TB) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv(envSeed); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatalf("%s: %v", envSeed, err)
		}
	}
	t.Logf("seed: %s=%d", envSeed, seed)
	return rand.New(rand.NewPCG(seed, seed))
}

// CloseAtEnd closes a server, proxy or process when the test ends. If the test has failed it logs
// the last output of what has some.
func CloseAtEnd(t TB, c interface{ Close() error }) {
	t.Helper()
	t.Cleanup(func() {
		if p, ok := c.(interface{ Output() string }); ok && t.Failed() {
			t.Logf("last output:\n%s", lastLines(p.Output(), 30))
		}
		if err := c.Close(); err != nil {
			t.Logf("close: %v", err)
		}
	})
}

// Context returns a context that ends with the test or after d, whichever is first.
func Context(t TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
