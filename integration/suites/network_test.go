//go:build integration

package suites_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/servers"
	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/relay"
)

// networkFaults are what a network does for a while, each with its end.
var networkFaults = []struct {
	name       string
	begin, end func(*servers.Proxies)
}{
	{"reset", (*servers.Proxies).Reset, nil},
	{"cut", (*servers.Proxies).Cut, (*servers.Proxies).Heal},
	{"pause", (*servers.Proxies).Pause, (*servers.Proxies).Heal},
	{"half-open", (*servers.Proxies).HalfOpen, (*servers.Proxies).Heal},
	{
		"slow", func(p *servers.Proxies) {
			p.SetLatency(100 * time.Millisecond)
			p.SetBandwidth(200_000)
		},
		func(p *servers.Proxies) { p.SetLatency(0); p.SetBandwidth(0) },
	},
}

// faultLasts is longer than most things that a relay does, and shorter than its session.
const faultLasts = 3 * time.Second

// TestNetworkFaults: between a relay and Redis, or Kafka, the network breaks in every way, under
// load. The relay gets over each by itself, within what its deadlines allow; exactly-once stays
// exactly once.
func TestNetworkFaults(t *testing.T) {
	t.Parallel()
	for side, through := range map[string]func(*testenv.Env, *relay.Config, *servers.Proxies){
		"Redis": func(w *testenv.Env, cfg *relay.Config, p *servers.Proxies) {
			cfg.Redis = w.RedisClient(func(o *redis.UniversalOptions) { o.Dialer = p.Dial })
		},
		"Kafka": func(w *testenv.Env, cfg *relay.Config, p *servers.Proxies) {
			cfg.Kafka = append(w.KafkaOpts(), kgo.Dialer(p.Dial))
		},
	} {
		for _, d := range []relay.Delivery{relay.DeliveryExactlyOnce, relay.DeliveryAtLeastOnce} {
			t.Run(side+"/"+d.String(), func(t *testing.T) {
				t.Parallel()
				w := shared(t, 2)
				proxies := servers.NewProxies()
				integration.CloseAtEnd(t, proxies)
				cfg := w.Config()
				cfg.Delivery = d
				through(w, &cfg, proxies)
				r := w.Run(cfg)

				share := scaled(t, 10_000)
				shop := w.Open(deadline(t, 5*time.Minute), testenv.ShopOptions{
					Events: share * len(networkFaults), Seed: integration.Seed(t).Uint64(), Writers: 4,
					Gated: true,
				})
				for n, fault := range networkFaults {
					shop.Allow(share*n + share/10)
					shop.Await(time.Minute, share*n+share/20)
					fault.begin(proxies)
					shop.Allow(share * (n + 1))
					if fault.end != nil {
						time.Sleep(faultLasts) // the length of the fault
						fault.end(proxies)
					}
					began := time.Now()
					shop.Await(time.Minute, share*(n+1))
					w.AwaitPassed(2 * time.Minute)
					delivered := time.Since(began)
					w.Await(2*time.Minute, func(context.Context) error { return r.Ready() })
					t.Logf("%s: all delivered %s after it was over, ready after %s",
						fault.name, delivered.Round(100*time.Millisecond), time.Since(began).Round(
							100*time.Millisecond))
				}
				shop.Close(time.Minute)
				if d == relay.DeliveryExactlyOnce {
					w.AwaitCommitted(time.Minute)
				} else {
					w.AwaitAcknowledged(time.Minute)
				}
				verifyDelivery(t, w, d)
			})
		}
	}
}

// TestUnreachableServersAreNamed: a relay that is started while one of its servers cannot be
// reached is not ready, says which one it is, and starts by itself when the network is back.
func TestUnreachableServersAreNamed(t *testing.T) {
	t.Parallel()
	for side, through := range map[string]func(*testenv.Env, *relay.Config, *servers.Proxies){
		"redis": func(w *testenv.Env, cfg *relay.Config, p *servers.Proxies) {
			cfg.Redis = w.RedisClient(func(o *redis.UniversalOptions) { o.Dialer = p.Dial })
		},
		"kafka": func(w *testenv.Env, cfg *relay.Config, p *servers.Proxies) {
			cfg.Kafka = append(w.KafkaOpts(), kgo.Dialer(p.Dial))
		},
	} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			w := shared(t, 1)
			w.Add(0, 10, "waiting")
			proxies := servers.NewProxies()
			integration.CloseAtEnd(t, proxies)
			proxies.Cut()
			cfg := w.Config()
			through(w, &cfg, proxies)
			r := w.Run(cfg)
			w.AwaitLog(r, time.Minute, side+":")
			if err := r.Ready(); err == nil {
				t.Error("the relay says that it is ready")
			} else {
				t.Logf("not ready: %v", err)
			}
			proxies.Heal()
			w.AwaitCommitted(time.Minute)
			w.Await(time.Minute, func(context.Context) error { return r.Ready() })
			verify(t, w)
		})
	}
}
