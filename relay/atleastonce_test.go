package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

func TestDeliveryErrorText(t *testing.T) {
	t.Parallel()
	one := &deliveryError{failures: []recordError{{"t", outbox.EntryID{MS: 1}, kerr.InvalidRecord}}}
	if got, want := one.Error(),
		"kafka: topic t, entry 1-0: "+kerr.InvalidRecord.Error(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if !errors.Is(one, kerr.InvalidRecord) {
		t.Error("the cause is not found")
	}
	two := &deliveryError{failures: []recordError{
		one.failures[0],
		{"t", outbox.EntryID{MS: 2}, kerr.InvalidRecord},
	}}
	if got, want := two.Error(), one.Error()+" (and 1 more records)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What a dead relay had read is delivered by its successor, first and in order, and nothing of it
// is stranded.
func TestClaimsWhatOthersLeft(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		cfg := l.config()
		cfg.Delivery = DeliveryAtLeastOnce
		_, stop := l.run(cfg) // the group holds the position from now on
		l.addEvents(0, 0, 1)
		l.consume(1, "outbox.event.order")
		stop()
		l.addEvents(0, 1, 200)
		for i, n := range []int64{5, 100, 7} {
			if err := l.redis.XReadGroup(t.Context(),
				&redis.XReadGroupArgs{
					Group: names.ConsumerGroup, Consumer: fmt.Sprint("dead-", i),
					Streams: []string{l.stream(0), ">"}, Count: n, Block: -1,
				}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		cfg.Instance = "successor"
		r, stop := l.run(cfg)
		defer stop()
		got := l.consume(201, "outbox.event.order")
		for i, rec := range got {
			if header(rec, "id") != fmt.Sprint("e-", i) {
				t.Fatalf("record %d is %s", i, header(rec, "id"))
			}
		}
		l.until(r, 0, StateRunning)
		time.Sleep(time.Second)
		pending, err := l.redis.XPending(t.Context(), l.stream(0), names.ConsumerGroup).Result()
		if err != nil || pending.Count != 0 {
			t.Errorf("%+v are pending, %v", pending, err)
		}
	})
}

// A paused ex-owner's read comes back late: it holds an entry that nobody else reads.
func TestFindsStrayedEntries(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		cfg := l.config()
		cfg.Delivery = DeliveryAtLeastOnce
		r, stop := l.run(cfg)
		defer stop()
		l.addEvents(0, 0, 3)
		l.consume(3, "outbox.event.order")
		l.mini.HSet(names.ControlKey(l.outbox), "pause", "{}")
		l.until(r, 0, StatePaused)
		l.addEvents(0, 3, 2)
		if err := l.redis.XReadGroup(t.Context(),
			&redis.XReadGroupArgs{
				Group: names.ConsumerGroup, Consumer: "ex-owner",
				Streams: []string{l.stream(0), ">"}, Count: 1, Block: -1,
			}).Err(); err != nil {
			t.Fatal(err)
		}
		l.mini.Del(names.ControlKey(l.outbox))
		l.consume(5, "outbox.event.order") // claimed at the start of the session
		if err := l.redis.XGroupCreateConsumer(t.Context(), l.stream(0), names.ConsumerGroup,
			"ex-owner").Err(); err != nil {
			t.Fatal(err)
		}
		// While the session runs.
		l.addEvents(0, 5, 1)
		l.consume(6, "outbox.event.order")
		late := l.add(0, "*", event("late", "k")...)
		// whoever is faster
		_ = l.redis.XReadGroup(t.Context(),
			&redis.XReadGroupArgs{
				Group: names.ConsumerGroup, Consumer: "ex-owner",
				Streams: []string{l.stream(0), ">"}, Count: 1, Block: -1,
			}).Err()
		got := l.consume(7, "outbox.event.order")
		if !slices.ContainsFunc(l.all("outbox.event.order"), func(rec *kgo.Record) bool {
			return header(rec, "id") == "late"
		}) {
			t.Errorf("entry %s is not among the %d records", late, len(got))
		}
	})
}

// A group that was destroyed is made again at the position: nothing is skipped, nothing begins at
// 0.
func TestDestroyedGroup(t *testing.T) {
	t.Parallel()
	for _, delivery := range []Delivery{DeliveryExactlyOnce, DeliveryAtLeastOnce} {
		t.Run(delivery.String(), func(t *testing.T) {
			t.Parallel()
			inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
				cfg := l.config()
				cfg.Delivery = delivery
				r, stop := l.run(cfg)
				defer stop()
				l.addEvents(0, 0, 10)
				l.consume(10, "outbox.event.order")
				l.until(r, 0, StateRunning)
				if err := l.redis.XGroupDestroy(t.Context(), l.stream(0),
					names.ConsumerGroup).Err(); err != nil {
					t.Fatal(err)
				}
				l.addEvents(0, 10, 10)
				l.consume(20, "outbox.event.order")
				if n := len(l.all("outbox.event.order")); n != 20 {
					t.Errorf("%d records of 20 events", n)
				}
				time.Sleep(5 * time.Second)
				group, err := l.source(t, cfg).group.info(t.Context())
				if err != nil || group == nil ||
					group.LastDeliveredID != r.Status()[0].Position.Entry.String() {
					t.Errorf("group %+v, %v; position %s", group, err, r.Status()[0].Position.Entry)
				}
			})
		})
	}
}

// A reader that was stopped for longer than half its session waits before it reads: the group tells
// it meanwhile that the shard is another's.
func TestReadAfterSilence(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		silent, told, waits time.Duration // told: when its ownership ends; 0: it does not
		belongs             bool
	}{
		"never stopped":      {0, 0, 0, true},
		"for a moment":       {2 * time.Second, 0, 0, true},
		"and still a member": {4 * time.Second, 0, 3 * time.Second, true},
		"past its session":   {9 * time.Second, 40 * time.Millisecond, 40 * time.Millisecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := &groupReader{
					stream: &stream{cfg: &Config{SessionTimeout: 6 * time.Second}},
					asked:  time.Now(),
				}
				time.Sleep(c.silent)
				ctx, lose := context.WithCancel(t.Context())
				defer lose()
				if c.told > 0 {
					time.AfterFunc(c.told, lose)
				}
				began := time.Now()
				if got := g.belongs(ctx); got != c.belongs || time.Since(began) != c.waits {
					t.Errorf("%v after %s", got, time.Since(began))
				}
			})
		})
	}
}
