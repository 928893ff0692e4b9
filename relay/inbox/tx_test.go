package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"

	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
)

// A handler that reads sees what earlier records have done, not what it has queued itself.
func TestReadSeesWhatCameBefore(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.config()
		cfg.Handle = func(ctx context.Context, tx *Tx, r Record) error {
			key := tx.StateKey("total")
			if string(r.Value) < "3" { // these only write
				tx.Queue().Incr(ctx, key)
				return nil
			}
			tx.Queue().Set(ctx, tx.StateKey("own"), "unseen", 0)
			if n := tx.Read().Exists(ctx, tx.StateKey("own")).Val(); n != 0 && string(r.Value) == "3" {
				t.Error("it sees what it has queued")
			}
			total, err := tx.Read().Get(ctx, key).Int()
			if err != nil {
				return err
			}
			tx.Queue().Set(ctx, key, total*2, 0)
			return nil
		}
		l.produce(0, "a", 0, 6)
		_, stop := l.start(cfg)
		defer stop()
		l.untilNext(0, 6)
		// 3, then doubled three times
		if got := l.redis.Get(t.Context(), "{shipping:0}:total").Val(); got != "24" {
			t.Error(got)
		}
	})
}

// A key that the handler watches and that somebody changes before EXEC has it run again.
func TestWatchedKeysAreProtected(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.config()
		runs := 0
		cfg.Handle = func(ctx context.Context, tx *Tx, _ Record) error {
			stock, err := tx.Read("stock").Get(ctx, "stock").Int()
			if err != nil {
				return err
			}
			if runs++; runs == 1 {
				l.redis.Incr(ctx, "stock") // an application
			}
			tx.Queue().Set(ctx, "stock", stock*10, 0)
			return nil
		}
		l.redis.Set(t.Context(), "stock", 1, 0)
		l.produce(0, "a", 0, 1)
		in, stop := l.start(cfg)
		defer stop()
		l.untilNext(0, 1)
		if got := l.redis.Get(t.Context(), "stock").Val(); got != "20" || runs != 2 {
			t.Errorf("stock %s after %d runs", got, runs)
		}
		if st := in.Status()[0]; st.State != Running || st.Position.Letters != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// A server that fails while a handler reads is not the record's fault, whatever error the handler
// makes of it.
func TestServerFailuresAreNoAttempts(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.config()
		cfg.OnError, cfg.Retry.Attempts = DeadLetter, 1
		var failures atomic.Int32
		cfg.Handle = func(ctx context.Context, tx *Tx, r Record) error {
			if err := tx.Read().Get(ctx, "any").Err(); !errors.Is(err, redis.Nil) {
				return errBroken
			}
			return l.tally(ctx, tx, r)
		}
		l.on(func(p *server.Peer, cmd string, args ...string) bool {
			if cmd != "GET" || args[0] != "any" || failures.Add(1) > 4 {
				return false
			}
			p.WriteError("CLUSTERDOWN Hash slot not served")
			return true
		})
		l.produce(0, "a", 0, 2)
		_, stop := l.start(cfg)
		defer stop()
		l.untilNext(0, 2)
		if got := l.seen(0, "a"); failures.Load() < 4 || !slices.Equal(got, numbers(0, 2)) ||
			len(l.letters(cfg)) != 0 {
			t.Errorf("%v, %d letters", got, len(l.letters(cfg)))
		}
	})
}

// newOutbox lays an outbox out beside the inbox.
func (l *lab) newOutbox(name string, shards int) {
	l.mini.HSet(names.LayoutKey(name), "version", "3", "format", "1", "shards", fmt.Sprint(shards),
		"created", "1")
}

func placed(r Record) outbox.Event {
	return outbox.Event{
		AggregateType: "shipment", AggregateID: r.Key, Type: "Shipped",
		Payload: r.Value,
	}
}

// Append is part of the same EXEC: one event for each record, in the shard of its key.
func TestAppend(t *testing.T) {
	t.Parallel()
	inLab(t, 4, func(t *testing.T, l *lab) {
		l.newOutbox("shipments", 2)
		cfg := l.config()
		cfg.Outbox, cfg.RequireSameSlot = "shipments", true
		cfg.Handle = func(ctx context.Context, tx *Tx, r Record) error {
			tx.Queue().Incr(ctx, tx.StateKey("shipped"))
			return tx.Append(placed(r))
		}
		want := map[int][]string{}
		for i := range 40 {
			key := fmt.Sprint("k", i%7)
			p := outbox.Partition([]byte(key), 4)
			l.produce(int32(p), key, i, i+1)
			want[p%2] = append(want[p%2], fmt.Sprint(i))
		}
		in, stop := l.start(cfg)
		defer stop()
		l.until("lag 0", func() bool {
			status := in.Status()
			return len(status) == 4 && !slices.ContainsFunc(status, func(st PartitionStatus) bool {
				return st.Position == nil || st.Lag != 0
			})
		})
		for shard := range 2 {
			entries, err := l.redis.XRange(t.Context(), outbox.StreamKey("shipments", shard), "-",
				"+").Result()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range entries {
				got = append(got, e.Values["payload"].(string))
			}
			slices.Sort(got)
			slices.Sort(want[shard])
			if !slices.Equal(got, want[shard]) {
				t.Errorf("shard %d: %v, want %v", shard, got, want[shard])
			}
			if n := l.redis.Get(t.Context(),
				outbox.StateKey("shipments", shard, "shipped")).Val(); n != fmt.Sprint(len(want[shard])) {
				t.Errorf("shard %d: %s shipped", shard, n)
			}
		}
	})
}

// otherShard is a key of the other one of two shards.
func otherShard(key string) string {
	for i := 0; ; i++ {
		if other := fmt.Sprint("other", i); outbox.Shard(other, 2) != outbox.Shard(key, 2) {
			return other
		}
	}
}

// An event that is none, or belongs elsewhere, ends its record even if the handler does not look;
// an outbox that is not there does not.
func TestAppendErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		event  func(Record) outbox.Event
		outbox bool // is there
		state  State
		says   string
	}{
		"not an event": {func(Record) outbox.Event {
			return outbox.Event{AggregateType: "x", Type: "y"}
		}, true, Halted, "AggregateID"},
		"another shard": {func(r Record) outbox.Event {
			e := placed(r)
			e.Key = otherShard(r.Key)
			return e
		}, true, Halted, "shard"},
		"no outbox there": {placed, false, Waiting, "sluice migrate apply"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inLab(t, 2, func(t *testing.T, l *lab) {
				l.newOutbox("shipments", 2)
				cfg := l.config()
				cfg.Outbox, cfg.RequireSameSlot = "shipments", true
				cfg.Handle = func(ctx context.Context, tx *Tx, r Record) error {
					tx.Queue().Incr(ctx, tx.StateKey("shipped"))
					_ = tx.Append(c.event(r))
					return nil
				}
				in, stop := l.start(cfg)
				defer stop()
				key := "k0"
				p := int32(outbox.Partition([]byte(key), 2))
				l.untilState(in, p, Running)
				if !c.outbox {
					l.redis.Del(t.Context(), names.LayoutKey("shipments"))
				}
				l.produce(p, key, 0, 1)
				st := l.untilState(in, p, c.state)
				if !strings.Contains(st.Reason, c.says) ||
					l.redis.Exists(t.Context(), outbox.StateKey("shipments", int(p), "shipped")).Val() != 0 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// A key in another hash slot is refused before anything is sent.
func TestOtherSlotsAreRefused(t *testing.T) {
	t.Parallel()
	for name, queue := range map[string]func(ctx context.Context, tx *Tx){
		"queued":  func(ctx context.Context, tx *Tx) { tx.Queue().Incr(ctx, "elsewhere") },
		"watched": func(_ context.Context, tx *Tx) { tx.Read("elsewhere") },
		"many": func(ctx context.Context, tx *Tx) {
			tx.Queue().MSet(ctx, tx.StateKey("here"), 1, "elsewhere", 1)
		},
		"counted": func(ctx context.Context, tx *Tx) {
			tx.Queue().ZUnionStore(ctx, tx.StateKey("here"),
				&redis.ZStore{Keys: []string{tx.StateKey("x"), "elsewhere"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inLab(t, 1, func(t *testing.T, l *lab) {
				l.mini.HSet("unrelated", "a", "b")
				cfg := l.config()
				cfg.RequireSameSlot, cfg.OnError = true, DeadLetter
				cfg.Handle = func(ctx context.Context, tx *Tx, _ Record) error {
					tx.Queue().Incr(ctx, tx.StateKey("here"))
					queue(ctx, tx)
					return nil
				}
				l.produce(0, "a", 0, 1)
				in, stop := l.start(cfg)
				defer stop()
				st := l.untilState(in, 0, Halted)
				if !strings.Contains(st.Reason, `key "elsewhere" is in hash slot`) ||
					!strings.Contains(st.Reason, "{shipping:0}") ||
					l.redis.Exists(t.Context(), "{shipping:0}:here").Val() != 0 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// What fails inside EXEC is told and becomes a dead letter; the rest of the transaction stands, and
// with CheckTypes nothing is sent.
func TestCommandsThatFail(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		check  bool
		value  func(ctx context.Context, q redis.Pipeliner)
		reason Reason
		other  bool // the record's other command took effect
	}{
		"wrong type, in EXEC": {false, func(ctx context.Context, q redis.Pipeliner) {
			q.HSet(ctx, "text", "a", "b")
		}, Partial, true},
		"not a number, in EXEC": {true, func(ctx context.Context, q redis.Pipeliner) {
			q.Incr(ctx, "text")
		}, Partial, true},
		"wrong type, checked": {true, func(ctx context.Context, q redis.Pipeliner) {
			q.HSet(ctx, "text", "a", "b")
		}, WrongType, false},
		"made wrong by a SET": {true, func(ctx context.Context, q redis.Pipeliner) {
			q.Set(ctx, "new", "x", 0)
			q.RPush(ctx, "new", "y")
		}, WrongType, false},
		"refused when it queued": {false, func(ctx context.Context, q redis.Pipeliner) {
			q.Do(ctx, "HSET", "h")
		}, Refused, false},
		"nothing, and types seen": {true, func(ctx context.Context, q redis.Pipeliner) {
			q.Del(ctx, "text")
			q.HSet(ctx, "text", "a", "b")
		}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inLab(t, 1, func(t *testing.T, l *lab) {
				l.redis.Set(t.Context(), "text", "words", 0)
				cfg := l.config()
				cfg.CheckTypes, cfg.OnError = c.check, DeadLetter
				cfg.Handle = func(ctx context.Context, tx *Tx, r Record) error {
					if string(r.Value) == "2" {
						tx.Queue().Set(ctx, "other", "done", 0)
						c.value(ctx, tx.Queue())
					}
					return l.tally(ctx, tx, r)
				}
				l.produce(0, "a", 0, 5)
				in, stop := l.start(cfg)
				defer stop()
				l.untilNext(0, 5)
				l.untilState(in, 0, Running)
				want := numbers(0, 5)
				if c.reason != "" && c.reason != Partial {
					want = []string{"0", "1", "3", "4"}
				}
				if got := l.seen(0, "a"); !slices.Equal(got, want) {
					t.Error(got)
				}
				if got := l.redis.Exists(t.Context(), "other").Val() == 1; got != c.other {
					t.Errorf("the record's other command took effect: %v", got)
				}
				letters := l.letters(cfg)
				switch {
				case c.reason == "" && len(letters) == 0:
				case len(letters) != 1 || letters[0].Reason != c.reason || letters[0].Offset != 2:
					t.Errorf("%+v", letters)
				}
				if owed := l.redis.HLen(t.Context(),
					keysOf("shipping", "shipping", 0, events, 0).owed).Val(); owed != 0 {
					t.Errorf("%d letters are still owed", owed)
				}
			})
		})
	}
}

// A letter of a partial record that could not be sent is sent by whoever goes on.
func TestOwedLettersAreSent(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.config()
		l.produce(0, "a", 0, 3)
		_, stop := l.start(cfg)
		l.untilNext(0, 3)
		stop()
		l.redis.HSet(t.Context(), keysOf("shipping", "shipping", 0, events, 0).owed, "1",
			"hset text: WRONGTYPE")
		_, stop = l.start(cfg)
		defer stop()
		l.until("sent", func() bool {
			letters := l.letters(cfg)
			return len(letters) == 1 && letters[0].Reason == Partial && letters[0].Offset == 1 &&
				letters[0].Key == "a"
		})
	})
}
