package relay

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// Without a position a shard begins where nothing can be missed, and nowhere else.
func TestFirstPosition(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(t *testing.T, l *testEnv)
		missing uint64 // with init
		halts   string
	}{
		"no stream": {func(_ *testing.T, l *testEnv) { l.mini.Del(l.stream(0)) }, 0, ""},
		"empty":     {func(*testing.T, *testEnv) {}, 0, ""},
		"untrimmed": {func(_ *testing.T, l *testEnv) { l.addEvents(0, 0, 5) }, 0, ""},
		"trimmed": {func(_ *testing.T, l *testEnv) {
			l.addEvents(0, 0, 5)
			l.added[l.stream(0)] = 9
		}, 4, "has 5 entries of 9"},
		"all trimmed": {func(_ *testing.T, l *testEnv) {
			l.added[l.stream(0)] = 9
		}, 9, "has 0 entries of 9"},
		"no group": {func(t *testing.T, l *testEnv) {
			l.addEvents(0, 0, 5)
			if err := l.redis.XGroupDestroy(t.Context(), l.stream(0),
				names.ConsumerGroup).Err(); err != nil {
				t.Fatal(err)
			}
		}, 0, ""},
		"delivered before": {func(t *testing.T, l *testEnv) {
			l.addEvents(0, 0, 5)
			if err := l.redis.XReadGroup(t.Context(),
				&redis.XReadGroupArgs{
					Group: names.ConsumerGroup, Consumer: "c",
					Streams: []string{l.stream(0), ">"}, Count: 2, Block: -1,
				}).Err(); err != nil {
				t.Fatal(err)
			}
		}, 0, "were delivered"},
		"another type": {func(t *testing.T, l *testEnv) {
			l.mini.Del(l.stream(0))
			if err := l.mini.Set(l.stream(0), "text"); err != nil {
				t.Fatal(err)
			}
		}, 0, "is not a stream"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
				c.prepare(t, l)
				cfg := l.config()
				pos, err := l.source(t, cfg).beginning().position(t.Context(), nil)
				var halt *HaltError
				if c.halts == "" && (err != nil || !pos.Entry.IsZero() || pos.Count != 0 ||
					pos.Fingerprint != "") {
					t.Errorf("got %+v, %v", pos, err)
				}
				if c.halts != "" && (!errors.As(err, &halt) || !strings.Contains(halt.Reason, c.halts)) {
					t.Errorf("got %+v, %v, want a halt with %q", pos, err, c.halts)
				}
				cfg.Init = true
				pos, err = l.source(t, cfg).beginning().position(t.Context(), nil)
				if name == "another type" {
					if !errors.As(err, &halt) {
						t.Errorf("with init: %v", err)
					}
				} else if err != nil || !pos.Entry.IsZero() || pos.Missing != c.missing {
					t.Errorf("with init: %+v, %v", pos, err)
				}
			})
		})
	}
}

func TestReconcile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		// after ten entries, of which the fifth is the position
		prepare   func(l *testEnv, at outbox.EntryID)
		halts     bool
		continues bool
	}{
		"as it was": {func(*testEnv, outbox.EntryID) {}, false, true},
		"trimmed to it": {func(l *testEnv, at outbox.EntryID) {
			if err := l.redis.XTrimMinID(l.t.Context(), l.stream(0), at.String()).Err(); err != nil {
				l.t.Error(err)
			}
		}, false, true},
		"deleted by hand": {func(l *testEnv, at outbox.EntryID) {
			if err := l.redis.XDel(l.t.Context(), l.stream(0), at.String()).Err(); err != nil {
				l.t.Error(err)
			}
		}, true, true},
		"emptied": {func(l *testEnv, _ outbox.EntryID) { l.mini.Del(l.stream(0)) }, true, true},
		"the same ID again": {func(l *testEnv, at outbox.EntryID) {
			l.mini.Del(l.stream(0))
			l.add(0, at.String(), event("another", "k")...)
		}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
				var ids []outbox.EntryID
				for i := range 10 {
					ids = append(ids, l.add(0, outbox.EntryID{MS: uint64(i + 1)}.String(),
						event(fmt.Sprint("e-", i), "k")...))
				}
				cfg := l.config()
				found, err := newStreamReader(l.redis, 0, l.stream(0)).first(t.Context(), ids[4])
				if err != nil {
					t.Fatal(err)
				}
				pos := Position{
					Entry: ids[4], Count: 5,
					Fingerprint: formatFingerprint(fingerprint(found.fields)),
				}
				committed, err := json.Marshal(pos)
				if err != nil {
					t.Fatal(err)
				}
				if err := json.Unmarshal(committed, &pos); err != nil { // with the time as it is written
					t.Fatal(err)
				}
				c.prepare(l, ids[4])
				got, err := l.source(t, cfg).beginning().position(t.Context(), committed)
				var halt *HaltError
				if errors.As(err, &halt) != c.halts || !c.halts && (err != nil || got != pos) {
					t.Errorf("policy halt: %+v, %v", got, err)
				}
				if halt != nil && (halt.Expected == "" || halt.Found == "" || halt.Entry != pos.Entry) {
					t.Errorf("halted without evidence: %v", halt)
				}
				cfg.OnMismatch = MismatchContinue
				got, err = l.source(t, cfg).beginning().position(t.Context(), committed)
				switch {
				case errors.As(err, &halt) == c.continues:
					t.Errorf("policy continue: %+v, %v", got, err)
				case c.continues && (err != nil || got.Entry != pos.Entry || c.halts && got.Fingerprint != ""):
					t.Errorf("policy continue: %+v, %v", got, err)
				}
			})
		})
	}
}

func TestPositionAfter(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		var ids []outbox.EntryID
		for i := range 300 {
			ids = append(ids, l.add(0, outbox.EntryID{MS: uint64(2*i + 2)}.String(),
				event(fmt.Sprint("e-", i), "k")...))
		}
		l.added[l.stream(0)] += 40 // trimmed before
		for after, want := range map[outbox.EntryID]struct {
			count  uint64
			anchor bool
		}{
			{}:                   {40, false},
			{MS: 1}:              {40, false},
			ids[0]:               {41, true},
			ids[99]:              {140, true},
			{MS: ids[99].MS + 1}: {140, false}, // between two
			ids[299]:             {340, true},
			{MS: 1 << 60}:        {340, false},
		} {
			got, err := PositionAfter(t.Context(), l.redis, l.outbox, 0, after)
			if err != nil || got.Entry != after || got.Count != want.count ||
				(got.Fingerprint != "") != want.anchor {
				t.Errorf("after %s: got %+v, %v", after, got, err)
			}
		}
		// What is added while it counts must not count as delivered or gone.
		once := false
		l.on(func(_ *server.Peer, cmd string, _ ...string) bool {
			if cmd == "XRANGE" && !once {
				once = true
				l.addEvents(0, 1000, 50)
			}
			return false
		})
		if got, err := PositionAfter(t.Context(), l.redis, l.outbox, 0, ids[99]); err != nil ||
			got.Count != 140 {
			t.Errorf("while entries are added: %+v, %v", got, err)
		}
		if got, err := PositionAfter(t.Context(), l.redis, "nobody", 0, ids[0]); err != nil ||
			got.Entry != ids[0] {
			t.Errorf("without a stream: %+v, %v", got, err)
		}
	})
}

// The two deliveries take over from each other: nothing is lost, and nothing is there twice when
// the other stopped cleanly.
func TestHandover(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		n := 0
		for round := range 6 {
			cfg := l.config()
			cfg.Delivery = Delivery(round % 2)
			cfg.Instance = fmt.Sprint("relay-", round)
			l.addEvents(0, n, 20)
			n += 20
			r, stop := l.run(cfg)
			l.consume(n, "outbox.event.order")
			l.addEvents(0, n, 20)
			n += 20
			l.consume(n, "outbox.event.order")
			l.until(r, 0, StateRunning)
			stop()
			pos, err := ReadPositions(t.Context(), l.opts, l.outbox, 1)
			if err != nil || pos[0].Delivery != cfg.Delivery {
				t.Errorf("round %d: %+v, %v", round, pos[0], err)
			}
		}
		got := l.all("outbox.event.order")
		for i, rec := range got {
			if header(rec, "id") != fmt.Sprint("e-", i) {
				// keys share partitions in this topic of one partition: the order is the stream's
				t.Fatalf("record %d is %s", i, header(rec, "id"))
			}
		}
		if len(got) != n {
			t.Errorf("%d records of %d events", len(got), n)
		}
	})
}

// What at-least-once left unconfirmed is what exactly-once begins with.
func TestGroupPosition(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		b := l.source(t, l.config()).beginning()
		// only says where to look
		committed, err := json.Marshal(
			Position{Delivery: DeliveryAtLeastOnce, Entry: outbox.EntryID{MS: 1 << 50}, Count: 99})
		if err != nil {
			t.Fatal(err)
		}
		var ids []outbox.EntryID
		for i := range 6 {
			ids = append(ids, l.add(0, outbox.EntryID{MS: uint64(i + 1)}.String(),
				event(fmt.Sprint(i), "k")...))
		}
		check := func(when string, want outbox.EntryID, count uint64) {
			t.Helper()
			pos, err := b.position(t.Context(), committed)
			if err != nil || pos.Entry.Compare(want) > 0 || pos.Entry.Compare(want.Prev()) < 0 ||
				pos.Count != count {
				t.Errorf("%s: %+v, %v, want %s and %d", when, pos, err, want, count)
			}
		}
		check("nothing read", outbox.EntryID{}, 0)
		if err := l.redis.XReadGroup(t.Context(),
			&redis.XReadGroupArgs{
				Group: names.ConsumerGroup, Consumer: "c",
				Streams: []string{l.stream(0), ">"}, Count: 4, Block: -1,
			}).Err(); err != nil {
			t.Fatal(err)
		}
		check("four pending", ids[0].Prev(), 0)
		ack := func(ids ...string) {
			t.Helper()
			if err := l.redis.XAck(t.Context(), l.stream(0), names.ConsumerGroup, ids...).Err(); err != nil {
				t.Fatal(err)
			}
		}
		ack(ids[0].String(), ids[3].String())
		check("the second and third pending", ids[1].Prev(), 1)
		ack(ids[1].String(), ids[2].String())
		check("four confirmed", ids[3], 4)
		if err := l.redis.XGroupDestroy(t.Context(), l.stream(0), names.ConsumerGroup).Err(); err != nil {
			t.Fatal(err)
		}
		var halt *HaltError
		if pos, err := b.position(t.Context(), committed); !errors.As(err, &halt) {
			t.Errorf("without a group: %+v, %v", pos, err)
		}
	})
}
