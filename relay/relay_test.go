package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

func TestRelayDelivers(t *testing.T) {
	for _, delivery := range []Delivery{DeliveryExactlyOnce, DeliveryAtLeastOnce} {
		t.Run(delivery.String(), func(t *testing.T) {
			inTestEnv(t, 2, func(t *testing.T, l *testEnv) {
				cfg := l.config()
				cfg.Delivery = delivery
				l.addEvents(0, 0, 300)
				l.addEvents(1, 300, 300)
				r, stop := l.run(cfg)
				defer stop()

				l.consume(600, "outbox.event.order")
				l.addEvents(0, 600, 50)
				bad := l.add(0, "*", "what", "ever")
				last := l.add(0, "*", event("e-last", "k1")...)
				got := l.consume(651, "outbox.event.order")

				seen := map[string]bool{}
				newest := map[string]outbox.EntryID{}
				for _, rec := range got {
					if seen[header(rec, "id")] {
						t.Errorf("%s twice", header(rec, "id"))
					}
					seen[header(rec, "id")] = true
					shard, id, ok := strings.Cut(strings.TrimPrefix(header(rec, "sluice-entry"), l.outbox+"/"),
						"/")
					entry, err := outbox.ParseEntryID(id)
					if !ok || err != nil {
						t.Fatalf("sluice-entry: %q", header(rec, "sluice-entry"))
					}
					key := shard + "/" + string(rec.Key)
					if entry.Compare(newest[key]) <= 0 {
						t.Errorf("entry %s of key %s after %s", entry, key, newest[key])
					}
					newest[key] = entry
				}
				dead := l.consume(1, names.DeadLetterTopic(l.outbox))
				if got := header(dead[0], "sluice-entry"); got != l.outbox+"/0/"+bad.String() ||
					header(dead[0], "sluice-reason") != "undecodable" {
					t.Errorf("dead letter: %v", dead[0].Headers)
				}
				if delivery == DeliveryExactlyOnce {
					if pos := l.position(0, last); pos.Count != 352 || pos.Delivery != DeliveryExactlyOnce ||
						pos.Relay != "relay-1" {
						t.Errorf("position: %+v", pos)
					}
				}
				if st := l.until(r, 0, StateRunning); st.Position.Count != 352 || st.Position.Entry != last {
					t.Errorf("status: %+v", st.Position)
				}
				if err := r.Ready(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Stopped and started again and again, in the middle of things: each event once, each key in order.
func TestRestarts(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		n := 0
		for i := range 20 {
			l.addEvents(0, n, 100)
			n += 100
			_, stop := l.run(l.config())
			time.Sleep(time.Duration(i) * 7 * time.Millisecond)
			stop()
		}
		_, stop := l.run(l.config())
		defer stop()
		l.consume(n, "outbox.event.order")
		for i, rec := range l.all("outbox.event.order") {
			if header(rec, "id") != fmt.Sprint("e-", i) {
				t.Fatalf("record %d is %s", i, header(rec, "id"))
			}
		}
	})
}

func TestRunWaitsForItsServers(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		key := names.LayoutKey(l.outbox)
		l.mini.Del(key)
		r, stop := l.run(l.config())
		defer stop()
		for _, c := range []struct {
			version, want string
		}{{"", "no layout"}, {"0", "version"}, {"1", "needs 3"}, {"2", "needs 3"}} {
			if c.version != "" {
				l.mini.HSet(key, "version", c.version, "format", "1", "shards", "1")
			}
			time.Sleep(time.Minute)
			if err := r.Ready(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("version %q: ready is %v, want %q", c.version, err, c.want)
			}
		}
		l.mini.HSet(key, "version", "3", "shards", "2")
		time.Sleep(time.Minute)
		if err := r.Ready(); err == nil || !strings.Contains(err.Error(), "partitions") {
			t.Errorf("with more shards than positions: %v", err)
		}
		l.mini.HSet(key, "shards", "1")
		l.until(r, 0, StateRunning)
		if err := r.Ready(); err != nil {
			t.Error(err)
		}
	})
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		key := names.LayoutKey(l.outbox)
		cfg := l.config()
		cfg.Assign = []int{1}
		for name, prepare := range map[string]func() Config{
			"a shard that does not exist": func() Config { return cfg },
			"a newer layout": func() Config {
				l.mini.HSet(key, "version", "4")
				return l.config()
			},
			"another format": func() Config {
				l.mini.HSet(key, "version", "3", "format", "2")
				return l.config()
			},
		} {
			l.mini.HSet(key, "version", "3", "format", "1")
			r, stop := l.start(prepare())
			time.Sleep(time.Minute)
			var layout *outbox.LayoutError
			if err := stop(); !errors.As(err, &layout) {
				t.Errorf("%s: Run gives %v", name, err)
			}
			if r.Ready() == nil {
				t.Errorf("%s: ready", name)
			}
		}
	})
}

func TestRunEndsWhileWaiting(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		l.mini.Del(names.LayoutKey(l.outbox))
		_, stop := l.run(l.config())
		time.Sleep(time.Minute)
		began := time.Now()
		stop()
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %s to stop", took)
		}
	})
}

// TestRunTwice: what Run made for the first call is not there for a second one, during it or after.
func TestRunTwice(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		r, stop := l.run(l.config())
		l.until(r, 0, StateRunning)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for _, when := range []string{"while it runs", "after it stopped"} {
			if err := r.Run(ended); err == nil || !strings.Contains(err.Error(), "New") {
				t.Errorf("%s: got %v", when, err)
			}
			stop()
		}
	})
}

// A stop must not take longer than the drain, whatever the servers do.
func TestStopWithoutKafka(t *testing.T) {
	t.Parallel()
	for _, delivery := range []Delivery{DeliveryExactlyOnce, DeliveryAtLeastOnce} {
		t.Run(delivery.String(), func(t *testing.T) {
			t.Parallel()
			inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
				cfg := l.config()
				cfg.Delivery, cfg.DrainTimeout = delivery, 3*time.Second
				r, stop := l.run(cfg)
				l.addEvents(0, 0, 1)
				l.consume(1, "outbox.event.order")
				l.until(r, 0, StateRunning)
				l.cluster.Close()
				l.addEvents(0, 1, 10)
				time.Sleep(time.Second)
				began := time.Now()
				stop()
				if took := time.Since(began); took > 15*time.Second {
					t.Errorf("it took %s to stop", took)
				}
			})
		})
	}
}
