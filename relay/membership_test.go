package relay

import (
	"fmt"
	"testing"
	"time"
)

// Relays come and go; the shards move, and every event is there once, in the order of its key.
func TestRelaysShareShards(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 4, func(t *testing.T, l *testEnv) {
		n := 0
		add := func() {
			for shard := range 4 {
				l.addEvents(shard, n, 10)
				n += 10
			}
		}
		var stops []func()
		var relays []*Relay
		for i := range 3 {
			cfg := l.config()
			cfg.Instance = fmt.Sprint("relay-", i)
			r, stop := l.run(cfg)
			relays, stops = append(relays, r), append(stops, stop)
			add()
			time.Sleep(3 * time.Second)
			add()
		}
		l.consume(n, "outbox.event.order")
		time.Sleep(30 * time.Second) // of the bubble: the group settles
		owned := map[int]int{}
		for _, r := range relays {
			if len(r.Status()) == 0 {
				t.Error("a relay owns no shard")
			}
			for _, st := range r.Status() {
				owned[st.Shard]++
			}
			if err := r.Ready(); err != nil {
				t.Error(err)
			}
		}
		for shard := range 4 {
			if owned[shard] != 1 {
				t.Errorf("shard %d has %d owners", shard, owned[shard])
			}
		}
		for _, stop := range stops {
			add()
			stop()
		}
		cfg := l.config()
		_, stop := l.run(cfg)
		defer stop()
		got := l.consume(n, "outbox.event.order")
		seen := map[string]bool{}
		for _, rec := range got {
			if seen[header(rec, "id")] {
				t.Errorf("%s twice", header(rec, "id"))
			}
			seen[header(rec, "id")] = true
		}
		if extra := len(l.all("outbox.event.order")); extra != n {
			t.Errorf("%d records of %d events", extra, n)
		}
	})
}

// Two relays that both believe they own a shard: fencing decides, and it costs throughput alone
// (invariant 1).
func TestTwoOwners(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		n := 0
		var stops []func()
		for i := range 2 {
			cfg := l.config()
			cfg.Instance, cfg.Assign = fmt.Sprint("relay-", i), []int{0}
			_, stop := l.run(cfg)
			stops = append(stops, stop)
		}
		for range 200 {
			l.addEvents(0, n, 5)
			n += 5
			time.Sleep(137 * time.Millisecond)
		}
		got := l.consume(n, "outbox.event.order")
		for _, stop := range stops {
			stop()
		}
		seen := map[string]bool{}
		for _, rec := range got {
			if seen[header(rec, "id")] {
				t.Errorf("%s twice", header(rec, "id"))
			}
			seen[header(rec, "id")] = true
		}
		if all := len(l.all("outbox.event.order")); all != n {
			t.Errorf("%d records of %d events", all, n)
		}
	})
}
