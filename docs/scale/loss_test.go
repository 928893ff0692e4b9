package main

import (
	"bytes"
	"testing"
	"time"
)

// medium is a deployment with all that can be lost.
func medium(t *testing.T, args ...string) config {
	return with(t, append([]string{"-shards=60", "-relays=6", "-brokers=6", "-rate=10", "-runs=1"},
		args...)...)
}

func TestConservation(t *testing.T) {
	for _, x := range losses {
		for _, args := range [][]string{{}, {"-join=leaders"}, {"-lanes=3"}, {"-lanes=0"}, {"-seed=2"}} {
			y, m := runLoss(medium(t, args...), x)
			if !y.settled {
				t.Errorf("%s %v: not settled", x.name, args)
			}
			for n, e := range m.entries {
				if e.seen != 1 {
					t.Fatalf("%s %v: entry %d of %d is visible %d times", x.name, args, n, len(m.entries), e.seen)
				}
			}
			for _, s := range m.shards {
				if s.done != len(s.entries) || s.lane.dead || s.lane.relay.dead {
					t.Fatalf("%s %v: shard %d has %d of %d entries delivered", x.name, args, s.n, s.done,
						len(s.entries))
				}
			}
		}
	}
}

func TestLosses(t *testing.T) {
	run := func(n int, args ...string) lost {
		y, _ := runLoss(medium(t, args...), losses[n])
		return y
	}
	between := func(y time.Duration, least, most time.Duration) {
		t.Helper()
		if y < least || y > most {
			t.Errorf("%v, want %v to %v", y, least, most)
		}
	}
	relay := run(0)
	if relay.still != 1./6 {
		t.Errorf("%v of the shards were still, want those of one relay of six", relay.still)
	}
	// A session less a heartbeat; the heartbeats of the others and a take-over more.
	between(relay.all, 4500*time.Millisecond, 8500*time.Millisecond)
	between(run(0, "-session=12s").all, 10*time.Second, 15*time.Second)
	between(run(0, "-rounds=4").all, relay.all+time.Second, relay.all+5*time.Second)
	between(run(1).committed, 0, 2*time.Second)
	between(run(2).all, 7*time.Second, 10*time.Second) // the controller's session
	between(run(2, "-broker-session=4s").all, 2*time.Second, 5*time.Second)
	between(run(3).all, 7*time.Second, 11*time.Second)
	between(run(4).all, 13*time.Second, 18*time.Second) // both sessions, one after the other
}

func TestSameSeedSameTables(t *testing.T) {
	tables := func(args ...string) string {
		var b bytes.Buffer
		for _, name := range []string{"inputs", "losses", "linger"} {
			if err := table(&b, name, medium(t, args...)); err != nil {
				t.Fatal(err)
			}
		}
		return b.String()
	}
	once := tables()
	if again := tables(); once != again {
		t.Errorf("two runs differ:\n%s\n%s", once, again)
	}
	if once == tables("-seed=2") {
		t.Error("the seed has no effect")
	}
	if err := table(new(bytes.Buffer), "nothing", medium(t)); err == nil {
		t.Error("a table that there is not was printed")
	}
}
