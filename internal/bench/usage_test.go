package bench

import (
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/integration/servers"
)

func TestUsage(t *testing.T) {
	start := time.Unix(1_000, 0)
	span := func(d time.Duration) *time.Duration { return &d }
	count := func(n int64) *int64 { return &n }
	before := meter{
		at: start, own: span(time.Second), broker: span(10 * time.Second),
		transactions: count(100),
	}
	after := meter{
		at: start.Add(4 * time.Second), own: span(1200 * time.Millisecond),
		broker: span(12 * time.Second), transactions: count(900),
	}
	u := after.since(before)
	if u.CPU == nil || *u.CPU != 5 || u.BrokerCPU == nil || *u.BrokerCPU != 50 ||
		u.Transactions == nil || *u.Transactions != 200 {
		t.Errorf("%v %v %v, want 5, 50 and 200", figure(u.CPU, 1), figure(u.BrokerCPU, 1),
			figure(u.Transactions, 1))
	}
	if u := after.since(meter{at: start}); u != (Usage{}) {
		t.Errorf("what was not known before is known: %+v", u)
	}
	if u := before.since(before); u != (Usage{}) {
		t.Errorf("no time has passed, and %+v was spent", u)
	}
}

// What cannot be known of brokers is not 0.
func TestBrokerCPUIsUnknown(t *testing.T) {
	for name, s := range map[string]*backends{
		"given": {},
		"in a container": {started: &servers.Kafka{
			Origin:  servers.OriginDocker,
			Brokers: []*servers.Broker{{}},
		}},
		"not running": {started: &servers.Kafka{
			Origin:  servers.OriginLocal,
			Brokers: []*servers.Broker{{}},
		}},
	} {
		if cpu := s.brokerCPU(); cpu != nil {
			t.Errorf("%s: %v", name, *cpu)
		}
	}
}
