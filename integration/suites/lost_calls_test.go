//go:build integration

package suites_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/integration"
	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/relay"
)

// mostCalls bounds the calls of one kind that a short run can make.
const mostCalls = 150

// TestLostCallToKafka: of the calls that a short run of a relay makes to Kafka, one fails, each in
// turn; its request is lost, or its reply. In exactly-once delivery every event is there once; in
// at-least-once none is lost.
func TestLostCallToKafka(t *testing.T) {
	t.Parallel()
	for name, keys := range map[string][]kmsg.Key{
		"commit":     {kmsg.EndTxn},
		"produce":    {kmsg.Produce},
		"initialise": {kmsg.InitProducerID, kmsg.FindCoordinator, kmsg.AddPartitionsToTxn},
		"position":   {kmsg.Fetch, kmsg.ListOffsets},
		"any":        nil,
	} {
		lostCalls(t, name, relay.DeliveryExactlyOnce, func() *integration.CallFaults {
			return integration.KafkaFaults(keys...)
		}, throughKafka)
	}
	for name, keys := range map[string][]kmsg.Key{"produce": {kmsg.Produce}, "any": nil} {
		lostCalls(t, name, relay.DeliveryAtLeastOnce, func() *integration.CallFaults {
			return integration.KafkaFaults(keys...)
		}, throughKafka)
	}
}

// TestLostCallToRedis is the same for the calls to Redis.
func TestLostCallToRedis(t *testing.T) {
	t.Parallel()
	for name, commands := range map[string][]string{
		"read":     {"XRANGE", "XREAD"},
		"position": {"XINFO", "HMGET", "XPENDING"},
		"any":      nil,
	} {
		lostCalls(t, name, relay.DeliveryExactlyOnce, func() *integration.CallFaults {
			return integration.RedisFaults(commands...)
		}, throughRedis)
	}
	for name, commands := range map[string][]string{
		"read":        {"XREADGROUP"},
		"acknowledge": {"XACK", "XAUTOCLAIM"},
		"any":         nil,
	} {
		lostCalls(t, name, relay.DeliveryAtLeastOnce, func() *integration.CallFaults {
			return integration.RedisFaults(commands...)
		}, throughRedis)
	}
}

func throughKafka(w *testenv.Env, cfg *relay.Config, f *integration.CallFaults) {
	cfg.Kafka = append(w.KafkaOpts(), kgo.Dialer(f.Dial))
}

func throughRedis(w *testenv.Env, cfg *relay.Config, f *integration.CallFaults) {
	cfg.Redis = w.RedisClient(func(o *redis.UniversalOptions) { o.Dialer = f.Dial })
}

// lostCalls runs a relay again and again, on one shard, each time with other events and with
// another call failing, until a run makes no further call.
func lostCalls(t *testing.T, name string, d relay.Delivery, faults func() *integration.CallFaults,
	through func(*testenv.Env, *relay.Config, *integration.CallFaults),
) {
	t.Helper()
	for _, mode := range []integration.FaultMode{integration.RequestLost, integration.ReplyLost} {
		t.Run(d.String()+"/"+name+"/"+mode.String(), func(t *testing.T) {
			t.Parallel()
			w := shared(t, 1)
			f := faults()
			cfg := w.Config()
			cfg.Delivery, cfg.Assign = d, []int{0}
			through(w, &cfg, f)
			began := time.Now()
			calls, err := f.EachCall(mode, mostCalls, func(int) error {
				r := w.Run(cfg)
				for range 2 { // two transactions, one on each transactional id
					w.Add(0, 20, "payload")
					w.AwaitPassed(time.Minute)
				}
				return r.Stop()
			})
			if err != nil {
				t.Fatal(err)
			}
			if calls == 0 {
				t.Fatal("no call failed")
			}
			t.Logf("%d calls failed, one in each run, in %s", calls,
				time.Since(began).Round(100*time.Millisecond))
			if d == relay.DeliveryExactlyOnce {
				w.AwaitCommitted(time.Minute)
				verify(t, w)
				return
			}
			w.AwaitAcknowledged(time.Minute)
			verifyAtLeastOnce(t, w)
		})
	}
}
