package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// failOn has the handler fail for some values until broken is false.
func (l *lab) failOn(cfg *Config, err error, values ...string) (broken *atomic.Bool) {
	broken = &atomic.Bool{}
	broken.Store(true)
	cfg.Handle = func(ctx context.Context, tx *Tx, r Record) error {
		tally := l.tally(ctx, tx, r) // effects of a run that fails do not count
		if broken.Load() && slices.Contains(values, string(r.Value)) {
			return err
		}
		return tally
	}
	return broken
}

var errBroken = errors.New("the shop is closed")

// A record that fails is retried in place: nothing of its partition passes it.
func TestRetryInPlace(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.config()
		cfg.Retry.Attempts = 1000
		var attempts []int
		cfg.Handle = func(ctx context.Context, tx *Tx, r Record) error {
			if string(r.Value) == "3" {
				if attempts = append(attempts, tx.Attempt()); tx.Attempt() < 5 {
					return errBroken
				}
			}
			return l.tally(ctx, tx, r)
		}
		l.produce(0, "a", 0, 3)
		l.produce(0, "b", 3, 6)
		in, stop := l.start(cfg)
		defer stop()
		st := l.untilState(in, 0, Waiting)
		if st.Record != 3 || !strings.Contains(st.Reason, errBroken.Error()) || l.next(0) != 3 ||
			len(l.seen(0, "b")) != 0 {
			t.Errorf("%+v; position %d, %v", st, l.next(0), l.seen(0, "b"))
		}
		l.untilNext(0, 6)
		l.untilState(in, 0, Running)
		if got := l.seen(0, "b"); !slices.Equal(got, numbers(3, 6)) ||
			!slices.Equal(attempts, []int{1, 2, 3, 4, 5}) {
			t.Errorf("%v after attempts %v", got, attempts)
		}
	})
}

// With the policy halt the partition stands before the record, says which, and goes on when the
// cause has gone.
func TestHaltPolicy(t *testing.T) {
	t.Parallel()
	inLab(t, 2, func(t *testing.T, l *lab) {
		cfg := l.config()
		broken := l.failOn(&cfg, errBroken, "3")
		l.produce(0, "a", 0, 6)
		l.produce(1, "b", 10, 16)
		in, stop := l.start(cfg)
		defer stop()
		st := l.untilState(in, 0, Halted)
		l.untilNext(1, 6) // the others go on
		if st.Record != 3 || !strings.Contains(st.Reason, errBroken.Error()) || l.next(0) != 3 {
			t.Errorf("%+v; position %d", st, l.next(0))
		}
		if err := in.Ready(); err == nil {
			t.Error("a halted partition is ready")
		}
		time.Sleep(time.Minute)
		broken.Store(false)
		l.untilNext(0, 6)
		l.untilState(in, 0, Running)
		if got := l.seen(0, "a"); !slices.Equal(got, numbers(0, 6)) {
			t.Error(got)
		}
	})
}

// A dead letter has the original record and the reason, the others go on, and it can be replayed.
func TestDeadLetterPolicyAndReplay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err    error
		reason Reason
		runs   int
	}{
		"after the attempts": {errBroken, Failed, 2},
		"poison at once":     {Poison(errBroken), Poisoned, 1},
		"poison, wrapped":    {fmt.Errorf("order: %w", Poison(errBroken)), Poisoned, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inLab(t, 1, func(t *testing.T, l *lab) {
				cfg := l.config()
				cfg.OnError = DeadLetter
				broken := l.failOn(&cfg, c.err, "3")
				inner, runs := cfg.Handle, 0
				cfg.Handle = func(ctx context.Context, tx *Tx, r Record) error {
					if string(r.Value) == "3" {
						runs++
					}
					return inner(ctx, tx, r)
				}
				l.produce(0, "a", 0, 6)
				_, stop := l.start(cfg)
				defer stop()
				l.untilNext(0, 6)
				letters := l.letters(cfg)
				if len(letters) != 1 || letters[0].Ref() != events+"/0/3" || letters[0].Reason != c.reason ||
					letters[0].Key != "a" || letters[0].Parked || runs != c.runs {
					t.Fatalf("%d runs, %d letters, %+v", runs, len(letters), letters)
				}
				if got := l.seen(0, "a"); !slices.Equal(got, []string{"0", "1", "2", "4", "5"}) {
					t.Error(got)
				}
				broken.Store(false)
				a := l.admin(cfg)
				defer a.Close()
				if err := a.ReplayLetter(t.Context(), letters[0]); err != nil {
					t.Fatal(err)
				}
				l.until("no letters", func() bool { return len(l.letters(cfg)) == 0 })
				if got := l.seen(0, "a"); !slices.Equal(got, []string{"0", "1", "2", "4", "5", "3"}) {
					t.Error(got)
				}
				if pos := l.next(0); pos != 6 {
					t.Errorf("the replay moved the position to %d", pos)
				}
			})
		})
	}
}

// A handler that panics has failed, and the instance goes on.
func TestPanicIsAFailure(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.config()
		cfg.OnError = DeadLetter
		cfg.Handle = func(ctx context.Context, tx *Tx, r Record) error {
			if string(r.Value) == "1" {
				panic("out of cheese")
			}
			return l.tally(ctx, tx, r)
		}
		l.produce(0, "a", 0, 3)
		_, stop := l.start(cfg)
		defer stop()
		l.untilNext(0, 3)
		if letters := l.letters(cfg); len(letters) != 1 ||
			!strings.Contains(letters[0].Detail, "out of cheese") {
			t.Errorf("%+v", letters)
		}
	})
}

// A structured CloudEvent that is none never reaches the handler.
func TestUndecodable(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.config()
		cfg.OnError = DeadLetter
		l.write(&kgo.Record{
			Topic: events, Value: []byte("{"),
			Headers: []kgo.RecordHeader{{
				Key:   "content-type",
				Value: []byte("application/cloudevents+json"),
			}},
		})
		l.produce(0, "a", 1, 2)
		_, stop := l.start(cfg)
		defer stop()
		l.untilNext(0, 2)
		if letters := l.letters(cfg); len(letters) != 1 || letters[0].Reason != Undecodable ||
			letters[0].HasKey {
			t.Errorf("%+v", letters)
		}
	})
}

// parkLab parks the key a at the value 2 while b goes on.
func parkLab(t *testing.T, f func(t *testing.T, l *lab, cfg Config, broken *atomic.Bool)) {
	t.Helper()
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.config()
		cfg.OnError = Park
		f(t, l, cfg, l.failOn(&cfg, errBroken, "2"))
	})
}

// handled replaces the handler that parkLab has been given by one that fails as broken says.
func (l *lab) handled(cfg *Config, broken *atomic.Bool) {
	cfg.Handle = func(ctx context.Context, tx *Tx, r Record) error {
		if broken.Load() && string(r.Value) == "2" {
			return errBroken
		}
		return l.tally(ctx, tx, r)
	}
}

// Later records of a parked key wait behind it, across restarts, while others go on; a replay
// applies them in order, and then the key is free.
func TestParkAndReplayInOrder(t *testing.T) {
	t.Parallel()
	parkLab(t, func(t *testing.T, l *lab, cfg Config, broken *atomic.Bool) {
		l.handled(&cfg, broken)
		for i := range 4 {
			l.produce(0, "a", i, i+1)
			l.produce(0, "b", i+10, i+11)
		}
		_, stop := l.start(cfg)
		l.untilNext(0, 8)
		stop()
		l.produce(0, "a", 4, 6)
		l.produce(0, "b", 14, 16)
		cfg.Instance = "i2"
		in, stop := l.start(cfg)
		defer stop()
		l.untilNext(0, 12)
		if a, b := l.seen(0, "a"), l.seen(0, "b"); !slices.Equal(a, numbers(0, 2)) ||
			!slices.Equal(b, numbers(10, 16)) {
			t.Fatalf("a: %v, b: %v", a, b)
		}
		admin := l.admin(cfg)
		defer admin.Close()
		parked, err := admin.Parked(t.Context(), events, 0)
		if err != nil || len(parked) != 1 || parked[0].Key != "a" || parked[0].First != 4 ||
			parked[0].Last != 9 || parked[0].Waiting != 4 || parked[0].Reason != Failed {
			t.Fatalf("%+v, %v", parked, err)
		}
		if st := in.Status()[0]; st.ParkedKeys != 1 || st.State != Running {
			t.Errorf("%+v", st)
		}
		letters := l.letters(cfg)
		if len(letters) != 4 || letters[0].Reason != Failed || letters[3].Reason != Parked {
			t.Errorf("%d letters", len(letters))
		}

		// A replay that meets the same failure stops there.
		if err := admin.ReplayKey(t.Context(), events, 0, "a", RefuseMissing); err != nil {
			t.Fatal(err)
		}
		l.until("the replay's failure", func() bool {
			parked, err := admin.Parked(t.Context(), events, 0)
			return err == nil && strings.HasPrefix(parked[0].Detail, "replay: ")
		})
		if a := l.seen(0, "a"); !slices.Equal(a, numbers(0, 2)) || len(l.letters(cfg)) != 4 {
			t.Errorf("after a failed replay: %v", a)
		}

		broken.Store(false)
		if err := admin.ReplayKey(t.Context(), events, 0, "a", RefuseMissing); err != nil {
			t.Fatal(err)
		}
		l.until("free", func() bool {
			parked, err := admin.Parked(t.Context(), events, 0)
			return err == nil && len(parked) == 0
		})
		l.produce(0, "a", 6, 8)
		l.untilNext(0, 14)
		if a := l.seen(0, "a"); !slices.Equal(a, numbers(0, 8)) {
			t.Errorf("after the replay: %v", a)
		}
		if letters := l.letters(cfg); len(letters) != 0 {
			t.Errorf("%d letters are left", len(letters))
		}
	})
}

// A letter that is gone is not passed over in silence.
func TestReplayRefusesMissingLetters(t *testing.T) {
	t.Parallel()
	parkLab(t, func(t *testing.T, l *lab, cfg Config, broken *atomic.Bool) {
		l.handled(&cfg, broken)
		l.produce(0, "a", 0, 6)
		_, stop := l.start(cfg)
		defer stop()
		l.untilNext(0, 6)
		broken.Store(false)
		admin := l.admin(cfg)
		defer admin.Close()
		if err := admin.Drop(t.Context(), l.letters(cfg)[1]); err != nil {
			t.Fatal(err)
		}
		if err := admin.ReplayKey(t.Context(), events, 0, "a", RefuseMissing); err != nil {
			t.Fatal(err)
		}
		l.until("the refusal", func() bool {
			parked, err := admin.Parked(t.Context(), events, 0)
			return err == nil && strings.Contains(parked[0].Detail, "1 of 4 letters")
		})
		if err := admin.ReplayKey(t.Context(), events, 0, "a", SkipMissing); err != nil {
			t.Fatal(err)
		}
		l.until("free", func() bool {
			parked, err := admin.Parked(t.Context(), events, 0)
			return err == nil && len(parked) == 0
		})
		if a := l.seen(0, "a"); !slices.Equal(a, []string{"0", "1", "2", "4", "5"}) {
			t.Error(a)
		}
	})
}

// A replay that Redis has lost, after its letters were ended, is not lost: the records are in the
// topic.
func TestReplayThatRedisHasLost(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		policy ErrorPolicy
		want   []string
	}{
		"parked":      {Park, numbers(0, 6)},
		"dead letter": {DeadLetter, []string{"0", "1", "3", "4", "5", "2"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inLab(t, 1, func(t *testing.T, l *lab) {
				cfg := l.config()
				cfg.OnError = c.policy
				broken := l.failOn(&cfg, errBroken, "2")
				l.handled(&cfg, broken)
				l.produce(0, "a", 0, 6)
				_, stop := l.start(cfg)
				l.untilNext(0, 6)
				stop()
				admin := l.admin(cfg)
				defer admin.Close()
				var err error
				if c.policy == Park {
					err = admin.ReplayKey(t.Context(), events, 0, "a", RefuseMissing)
				} else {
					err = admin.ReplayLetter(t.Context(), l.letters(cfg)[0])
				}
				if err != nil {
					t.Fatal(err)
				}
				snapshot := l.snapshot()
				broken.Store(false)
				_, stop = l.start(cfg)
				l.until("replayed", func() bool {
					return slices.Equal(l.seen(0, "a"), c.want) && len(l.letters(cfg)) == 0
				})
				stop()
				l.restore(snapshot)
				_, stop = l.start(cfg)
				defer stop()
				if c.policy == Park {
					l.until("the refusal", func() bool {
						parked, err := admin.Parked(t.Context(), events, 0)
						return err == nil && strings.Contains(parked[0].Detail, "4 of 4 letters")
					})
					if err := admin.ReplayKey(t.Context(), events, 0, "a", RefetchMissing); err != nil {
						t.Fatal(err)
					}
				}
				l.until("replayed again", func() bool { return slices.Equal(l.seen(0, "a"), c.want) })
				l.until("no wishes", func() bool {
					return l.redis.Exists(t.Context(),
						keysOf("shipping", "shipping", 0, events, 0).replay).Val() == 0
				})
			})
		})
	}
}

// More parked keys than the bound halt the partition.
func TestParkedKeysAreBounded(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.config()
		cfg.OnError, cfg.MaxParked = Park, 3
		l.failOn(&cfg, errBroken, "7")
		for key := range 5 {
			l.produce(0, fmt.Sprint("k", key), 7, 8)
		}
		in, stop := l.start(cfg)
		defer stop()
		st := l.untilState(in, 0, Halted)
		if st.Record != 3 || st.ParkedKeys != 3 || !strings.Contains(st.Reason, "max_parked") {
			t.Errorf("%+v", st)
		}
	})
}

// A record without a key cannot park one: it is a dead letter.
func TestRecordsWithoutKeyAreNotParked(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.config()
		cfg.OnError = Park
		l.failOn(&cfg, errBroken, "2")
		for _, v := range numbers(0, 5) {
			l.write(&kgo.Record{Topic: events, Value: []byte(v)})
		}
		in, stop := l.start(cfg)
		defer stop()
		l.untilNext(0, 5)
		if got := l.seen(0, ""); !slices.Equal(got, []string{"0", "1", "3", "4"}) ||
			in.Status()[0].ParkedKeys != 0 {
			t.Errorf("%v, %+v", got, in.Status())
		}
	})
}
