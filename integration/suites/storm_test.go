//go:build integration

package suites_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/sluice-outbox/sluice/consistency"
	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/integration/testenv"
)

const (
	stormEvents = 1_000_000
	stormFaults = 200
	stormShards = 16
	// stormCalm is how long the relays may take to deliver what waits, while faults go on that have
	// begun before.
	stormCalm = 3 * time.Minute
)

// TestStorm is the long run: events are written over sixteen shards while relays, brokers and the
// network between them break in random order, several at a time. No shard is still without
// saying why. At the end every event was delivered once and in order, and an audit agrees.
func TestStorm(t *testing.T) {
	t.Parallel()
	s := newStorm(t)
	watch := s.w.WatchStillness(stillnessLimit)
	events, faults := scaled(t, stormEvents), scaled(t, stormFaults)
	shop := s.w.Open(s.ctx, testenv.ShopOptions{Events: events, Seed: s.random.Uint64(), Gated: true})
	began := time.Now()
	for n := range faults {
		from, to := events*n/faults, events*(n+1)/faults
		shop.Allow(to)
		shop.Await(time.Minute, from+s.random.IntN(max(1, to-from)))
		s.fault()
		// Some faults hit relays that have just come to work again, most hit those that are still at it.
		if s.random.IntN(4) == 0 {
			s.w.AwaitPassed(stormCalm)
		}
	}
	t.Logf("%d faults in %s: %v", faults, time.Since(began).Round(time.Second), s.counts)
	shop.Close(time.Minute)
	s.calm()
	began = time.Now()
	s.w.AwaitCommitted(stormCalm)
	t.Logf("all delivered %s after the last fault was over",
		time.Since(began).Round(100*time.Millisecond))
	watch.End()
	s.crew.leave()
	verify(t, s.w)
	full := auditConfig(s.w)
	full.Full = true
	if r := audit(t, full); r.Verdict != consistency.Agree || len(r.Findings) > 0 ||
		r.Entries != int64(events) || r.Records != int64(events) {
		t.Errorf("the audit says %s, %d entries and %d records of %d: %v %v", r.Verdict, r.Entries,
			r.Records, events, r.Findings, r.Incomplete)
	}
}

// storm is what breaks. Faults that last overlap with those of other kinds, not with their own.
type storm struct {
	t      *testing.T
	ctx    context.Context
	w      *testenv.Env
	k      *servers.Kafka
	crew   *crew
	random *rand.Rand

	brokers, network spell
	deck             []stormFault // to come
	counts           map[string]int
}

// newStorm starts three brokers behind proxies, a Redis, and a crew of relays that know only the
// proxies.
func newStorm(t *testing.T) *storm {
	t.Helper()
	s := &storm{
		t: t, ctx: deadline(t, 3*time.Hour), random: integration.Seed(t),
		counts: map[string]int{},
	}
	server, err := servers.StartRedis(s.ctx, servers.RedisOptions{})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, server)
	s.k, err = servers.StartKafka(s.ctx,
		servers.KafkaOptions{Brokers: 3, Java: []string{"-Xmx512m"}, Proxied: true})
	if err != nil {
		t.Fatal(err)
	}
	integration.CloseAtEnd(t, s.k)
	t.Logf("servers: %s, %s, three of them", server.Version, s.k.Version)
	s.w = testenv.New(t, testenv.Options{
		Shards: stormShards, Redis: redis.UniversalOptions{Addrs: []string{server.Addr}},
		Kafka: s.k.Addrs(), RelayKafka: s.k.ProxiedAddrs(),
	})
	if _, err := kadm.NewClient(s.w.Kafka).CreateTopic(s.ctx, stormShards, 3, nil,
		s.w.Topic()); err != nil {
		t.Fatal(err)
	}
	s.crew = newCrew(t, s.w, 5, s.random, testenv.Settings{"session_timeout": session.String()})
	s.crew.patience = time.Minute
	return s
}

// calm waits until every fault that lasts is over.
func (s *storm) calm() {
	s.t.Helper()
	s.over(&s.brokers)
	s.over(&s.network)
	s.crew.rest()
}

// over waits for the end of a spell.
func (s *storm) over(p *spell) {
	s.t.Helper()
	if err := p.wait(); err != nil {
		s.t.Fatal(err)
	}
}

// spell is a fault that lasts while other things go on. The zero value is over.
type spell struct{ done chan error }

// begin lets the spell end by itself, as end does it.
func (p *spell) begin(end func() error) {
	p.done = make(chan error, 1)
	go func() { p.done <- end() }()
}

func (p *spell) wait() error {
	if p.done == nil {
		return nil
	}
	err := <-p.done
	p.done = nil
	return err
}
