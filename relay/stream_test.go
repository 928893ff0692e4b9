package relay

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

func TestIdleShardRuns(t *testing.T) {
	t.Parallel()
	for _, delivery := range []Delivery{DeliveryExactlyOnce, DeliveryAtLeastOnce} {
		t.Run(delivery.String(), func(t *testing.T) {
			t.Parallel()
			inTestEnv(t, 2, func(t *testing.T, l *testEnv) {
				cfg := l.config()
				cfg.Delivery = delivery
				r, stop := l.run(cfg)
				defer stop()
				l.until(r, 0, StateRunning)
				l.until(r, 1, StateRunning)
				if err := r.Ready(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	for _, delivery := range []Delivery{DeliveryExactlyOnce, DeliveryAtLeastOnce} {
		t.Run(delivery.String(), func(t *testing.T) {
			t.Parallel()
			inTestEnv(t, 2, func(t *testing.T, l *testEnv) {
				cfg := l.config()
				cfg.Delivery = delivery
				r, stop := l.run(cfg)
				defer stop()
				l.addEvents(0, 0, 5)
				l.consume(5, "outbox.event.order")
				l.mini.HSet(names.ControlKey(l.outbox), "pause:0", `{"by":"ops","reason":"maintenance"}`)
				if st := l.until(r, 0, StatePaused); st.Reason != "paused by ops: maintenance" {
					t.Errorf("reason %q", st.Reason)
				}
				l.addEvents(0, 5, 5)
				l.addEvents(1, 100, 5)
				time.Sleep(time.Minute)
				if n := len(l.all("outbox.event.order")); n != 10 {
					t.Errorf("%d records while shard 0 is paused and shard 1 is not, want 10", n)
				}
				if st := r.Status()[0]; st.Lag != 5 || st.OldestUndelivered < time.Minute {
					t.Errorf("lag %d, oldest %s while paused", st.Lag, st.OldestUndelivered)
				}
				if err := r.Ready(); err != nil {
					t.Errorf("paused on purpose, and not ready: %v", err)
				}
				l.mini.Del(names.ControlKey(l.outbox))
				l.until(r, 0, StateRunning)
				l.consume(15, "outbox.event.order")
			})
		})
	}
}

// Halted, told with the reason, looked at again, and running once the cause has gone, without a
// restart.
func TestHaltAndRecover(t *testing.T) {
	t.Parallel()
	for _, delivery := range []Delivery{DeliveryExactlyOnce, DeliveryAtLeastOnce} {
		t.Run(delivery.String(), func(t *testing.T) {
			t.Parallel()
			inTestEnv(t, 2, func(t *testing.T, l *testEnv) {
				cfg := l.config()
				cfg.Delivery, cfg.Topics.OnUnknown, cfg.Route = delivery, UnknownTopicHalt, "{{.Type}}"
				if err := l.cluster.CreateTopic("Placed", 1, nil); err != nil {
					t.Fatal(err)
				}
				l.addEvents(0, 0, 3)
				at := l.add(0, "*", with2("type", "Shipped")...)
				l.addEvents(0, 4, 3)
				r, stop := l.run(cfg)
				defer stop()
				st := l.until(r, 0, StateHalted)
				if st.Entry != at.String() || !strings.Contains(st.Reason, "Shipped") ||
					!strings.Contains(st.Reason, "unknown_topic") {
					t.Errorf("halted with %+v", st)
				}
				if err := r.Ready(); err == nil || !strings.Contains(err.Error(), "halted") {
					t.Errorf("ready: %v", err)
				}
				time.Sleep(time.Minute)
				if n := len(l.all("Placed")); n != 3 {
					t.Errorf("%d records before the entry that halts", n)
				}
				if st := l.told(t, 0); st.State != string(StateHalted) || st.Entry != at.String() {
					t.Errorf("status hash: %+v", st)
				}
				if err := l.cluster.CreateTopic("Shipped", 1, nil); err != nil {
					t.Fatal(err)
				}
				l.consume(7, "Placed", "Shipped")
				l.until(r, 0, StateRunning)
				if got := l.all("Placed", "Shipped"); len(got) != 7 {
					t.Errorf("%d records", len(got))
				}
				l.mu.Lock()
				defer l.mu.Unlock()
				told := map[State]int{}
				for _, st := range l.states {
					if st.Shard == 0 {
						told[st.State]++
					}
				}
				if told[StateHalted] != 1 || told[StateRunning] > 2 {
					t.Errorf("the observer was told %v", told)
				}
			})
		})
	}
}

// A lost anchor halts with evidence, and an operator's position lets the shard go on.
func TestHaltAtLostAnchor(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		l.addEvents(0, 0, 5)
		r, stop := l.run(l.config())
		defer stop()
		l.consume(5, "outbox.event.order")
		l.until(r, 0, StateRunning)
		l.mini.Del(l.stream(0)) // and the writers go on
		l.addEvents(0, 5, 5)
		st := l.until(r, 0, StateHalted)
		if st.Expected == "" || st.Found == "" || st.Entry == "" {
			t.Errorf("halted without evidence: %+v", st)
		}
		time.Sleep(time.Minute)
		if n := len(l.all("outbox.event.order")); n != 5 {
			t.Errorf("%d records", n)
		}
		pos, err := PositionAfter(t.Context(), l.redis, l.outbox, 0, outbox.EntryID{})
		if err != nil {
			t.Fatal(err)
		}
		if err := SetPosition(t.Context(), l.opts, l.outbox, 0, pos); err != nil {
			t.Fatal(err)
		}
		l.consume(10, "outbox.event.order")
		l.until(r, 0, StateRunning)
	})
}

// Records that the broker refuses take nobody with them: their neighbours are delivered once, and
// they become dead letters, all at once and no others.
func TestPoison(t *testing.T) {
	t.Parallel()
	for _, delivery := range []Delivery{DeliveryExactlyOnce, DeliveryAtLeastOnce} {
		for name, c := range map[string]struct {
			always []string // the events that are refused, whatever they are sent with
			named  bool     // the broker names them (KIP-467)
			times  int      // how often whatever is sent is refused at first
		}{
			"a batch, once":             {times: 1},
			"a batch, twice":            {times: 2}, // not in the end: no event is refused alone
			"one event":                 {always: []string{"e-7"}},
			"one event, named":          {always: []string{"e-7"}, named: true},
			"the first and last, named": {always: []string{"e-0", "e-19"}, named: true},
			"many":                      {always: []string{"e-1", "e-2", "e-3", "e-11", "e-18"}},
		} {
			t.Run(fmt.Sprint(delivery, ", ", name), func(t *testing.T) {
				t.Parallel()
				inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
					if err := l.cluster.CreateTopic("outbox.event.order", 1, nil); err != nil {
						t.Fatal(err)
					}
					l.cluster.Fault(kfake.Fault{
						Keys: []kmsg.Key{kmsg.Produce}, Topic: "outbox.event.order",
						Err: kerr.InvalidRecord, Count: max(1, c.times), Observe: c.times == 0,
					})
					l.refuse("outbox.event.order", func(id string) bool {
						return slices.Contains(c.always, id)
					}, c.named)
					cfg := l.config()
					cfg.Delivery = delivery
					l.addEvents(0, 0, 20)
					r, stop := l.run(cfg)
					defer stop()
					l.consume(20, "outbox.event.order", names.DeadLetterTopic(l.outbox))
					l.until(r, 0, StateRunning)
					dead := l.all(names.DeadLetterTopic(l.outbox))
					if len(dead) != len(c.always) {
						t.Errorf("%d dead letters, want %d", len(dead), len(c.always))
					}
					for i, d := range dead {
						if header(d, "sluice-reason") != "rejected" ||
							header(d, "sluice-topic") != "outbox.event.order" ||
							!strings.Contains(header(d, "sluice-detail"), "INVALID_RECORD") {
							t.Errorf("dead letter %v", headerText(d.Headers))
						}
						if i < len(c.always) && !strings.Contains(string(d.Value), c.always[i]+"\r\n") {
							t.Errorf("letter %d is not of %s: %q", i, c.always[i], d.Value)
						}
					}
					seen := map[string]int{}
					for _, rec := range l.all("outbox.event.order") {
						seen[header(rec, "id")]++
					}
					if len(seen) != 20-len(c.always) {
						t.Errorf("%d of 20 events", len(seen))
					}
					for id, n := range seen {
						if n > 1 && delivery == DeliveryExactlyOnce {
							t.Errorf("%s %d times", id, n)
						}
					}
				})
			})
		}
	}
}

// Policy halt for what the broker refuses: halted, and delivered when the cause has gone, without a
// restart.
func TestPoisonHaltsAndRecovers(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		if err := l.cluster.CreateTopic("outbox.event.order", 1, nil); err != nil {
			t.Fatal(err)
		}
		fault := l.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.Produce}, Topic: "outbox.event.order",
			Err: kerr.InvalidRecord, Count: -1,
		})
		cfg := l.config()
		cfg.DeadLetter.On = []Reason{ReasonUndecodable}
		l.addEvents(0, 0, 3)
		r, stop := l.run(cfg)
		defer stop()
		if st := l.until(r, 0, StateHalted); !strings.Contains(st.Reason, "rejected") {
			t.Errorf("halted with %+v", st)
		}
		time.Sleep(time.Minute)
		fault.Remove()
		l.consume(3, "outbox.event.order")
		l.until(r, 0, StateRunning)
	})
}

// A dead-letter topic that refuses its letters must not be asked at full speed for ever.
func TestPoisonedDeadLetterTopic(t *testing.T) {
	t.Parallel()
	for _, delivery := range []Delivery{DeliveryExactlyOnce, DeliveryAtLeastOnce} {
		t.Run(delivery.String(), func(t *testing.T) {
			t.Parallel()
			inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
				refused := l.cluster.Fault(kfake.Fault{
					Keys:  []kmsg.Key{kmsg.Produce},
					Topic: names.DeadLetterTopic(l.outbox), Err: kerr.MessageTooLarge, Count: -1,
				})
				cfg := l.config()
				cfg.Delivery = delivery
				l.add(0, "*", "colour", "red")
				r, stop := l.run(cfg)
				defer stop()
				if st := l.until(r, 0, StateHalted); !strings.Contains(st.Reason, "dead-letter topic") {
					t.Errorf("halted with %+v", st)
				}
				before := refused.Hits()
				time.Sleep(time.Minute)
				if n := refused.Hits() - before; n > 60 {
					t.Errorf("asked %d times in a minute", n)
				}
				refused.Remove()
				l.consume(1, names.DeadLetterTopic(l.outbox))
				l.until(r, 0, StateRunning)
			})
		})
	}
}

// One line a state change: an hour without Kafka must not fill a disk.
func TestLogsAreFew(t *testing.T) {
	t.Parallel()
	for _, assign := range [][]int{nil, {0}} {
		t.Run(fmt.Sprint("assigned ", assign), func(t *testing.T) {
			t.Parallel()
			inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
				var log strings.Builder
				cfg := l.config()
				cfg.Assign = assign
				cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
				l.addEvents(0, 0, 1)
				r, stop := l.run(cfg)
				l.consume(1, "outbox.event.order")
				l.until(r, 0, StateRunning)
				l.cluster.Close()
				l.addEvents(0, 1, 1)
				time.Sleep(30 * time.Minute)
				stop()
				if n := strings.Count(log.String(), "\n"); n > 30*4 {
					t.Errorf("%d lines in half an hour without Kafka; the last:\n%s", n,
						log.String()[max(0, log.Len()-2000):])
				}
				if strings.Contains(log.String(), `{"n":1}`) {
					t.Error("a payload was logged")
				}
			})
		})
	}
}
