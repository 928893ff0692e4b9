package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// deleteBefore is what retention does.
func (l *lab) deleteBefore(partition int32, offset int64) {
	l.t.Helper()
	offsets := kadm.Offsets{}
	offsets.AddOffset(events, partition, offset, -1)
	answers, err := l.kadm().DeleteRecords(l.t.Context(), offsets)
	if err == nil {
		err = answers.Error()
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) recreate(partitions int32) {
	l.t.Helper()
	if _, err := l.kadm().DeleteTopic(l.t.Context(), events); err != nil {
		l.t.Fatal(err)
	}
	if _, err := l.kadm().CreateTopic(l.t.Context(), partitions, 1, nil, events); err != nil {
		l.t.Fatal(err)
	}
	l.kafka.PurgeTopicsFromClient(events)
}

// What Kafka no longer has halts the partition with the evidence, and a reset that was previewed
// lets it go on.
func TestHaltsWithEvidence(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		between         func(l *lab)
		expected, found string
		reset           Reset
		seen            []string // after the reset to the earliest and two more records
	}{
		"retention has passed the position": {
			func(l *lab) {
				l.produce(0, "a", 4, 8)
				l.deleteBefore(0, 6)
			},
			"offset 4", "a log that starts at 6",
			Reset{To: 6, Again: 0, Skipped: 2, LogStart: 6, LogEnd: 8},
			[]string{"0", "1", "2", "3", "6", "7", "8", "9"},
		},
		"the topic was made again": {
			func(l *lab) { l.recreate(1); l.produce(0, "a", 20, 26) },
			"topic ID", "",
			Reset{To: 0, Again: -1, Skipped: -1, LogStart: 0, LogEnd: 6, Forgotten: true},
			[]string{"0", "1", "2", "3", "20", "21", "22", "23", "24", "25", "8", "9"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inLab(t, 1, func(t *testing.T, l *lab) {
				cfg := l.config()
				l.produce(0, "a", 0, 4)
				_, stop := l.start(cfg)
				l.untilNext(0, 4)
				stop()
				c.between(l)
				in, stop := l.start(cfg)
				defer stop()
				st := l.untilState(in, 0, Halted)
				if !strings.Contains(st.Expected, c.expected) || c.found != "" && st.Found != c.found ||
					!strings.Contains(st.Reason, "Admin.PlanReset") {
					t.Errorf("%+v", st)
				}
				if got := l.seen(0, "a"); !slices.Equal(got, numbers(0, 4)) {
					t.Errorf("halted, and %v took effect", got)
				}
				admin := l.admin(cfg)
				defer admin.Close()
				plan, err := admin.PlanReset(t.Context(), ResetTo{Earliest: true})
				if err != nil || len(plan) != 1 {
					t.Fatal(plan, err)
				}
				got := plan[0]
				if got.To != c.reset.To || got.Again != c.reset.Again || got.Skipped != c.reset.Skipped ||
					got.LogStart != c.reset.LogStart || got.LogEnd != c.reset.LogEnd ||
					got.Forgotten != c.reset.Forgotten {
					t.Errorf("preview %+v", got)
				}
				if err := admin.Apply(t.Context(), got, "somebody"); err != nil {
					t.Fatal(err)
				}
				l.produce(0, "a", 8, 10)
				l.untilState(in, 0, Running)
				l.until("applied", func() bool { return slices.Equal(l.seen(0, "a"), c.seen) })
				if err := admin.Apply(t.Context(), got, "somebody"); !errors.Is(err, ErrMoved) {
					t.Errorf("the same reset again: %v", err)
				}
			})
		})
	}
}

// The topic is made again while the inbox runs: it halts, and after a reset the same process reads
// the new one.
func TestTopicMadeAgainWhileItRuns(t *testing.T) {
	t.Parallel()
	inLab(t, 2, func(t *testing.T, l *lab) {
		cfg := l.config()
		in, stop := l.start(cfg)
		defer stop()
		l.produce(0, "a", 0, 4)
		l.untilNext(0, 4)
		l.recreate(2)
		l.produce(0, "a", 20, 22)
		l.produce(1, "a", 20, 22)
		l.untilState(in, 0, Halted)
		l.untilState(in, 1, Halted)
		admin := l.admin(cfg)
		defer admin.Close()
		plan, err := admin.PlanReset(t.Context(), ResetTo{Earliest: true})
		if err != nil || len(plan) != 2 {
			t.Fatal(plan, err)
		}
		for _, r := range plan {
			if err := admin.Apply(t.Context(), r, "ann"); err != nil {
				t.Fatal(err)
			}
		}
		l.until("applied", func() bool {
			return slices.Equal(l.seen(0, "a"), append(numbers(0, 4), "20", "21")) &&
				slices.Equal(l.seen(1, "a"), numbers(20, 22))
		})
	})
}

// A position that is not among the log's offsets: of another Kafka, for example.
func TestHaltsBehindTheEnd(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.config()
		l.produce(0, "a", 0, 4)
		_, stop := l.start(cfg)
		l.untilNext(0, 4)
		stop()
		admin := l.admin(cfg)
		defer admin.Close()
		plan, err := admin.PlanReset(t.Context(), ResetTo{End: true})
		if err != nil {
			t.Fatal(err)
		}
		plan[0].To = 9
		if err := admin.Apply(t.Context(), plan[0], ""); err != nil {
			t.Fatal(err)
		}
		in, stop := l.start(cfg)
		defer stop()
		if st := l.untilState(in, 0, Halted); st.Expected != "at least 9 offsets" ||
			st.Found != "a log that ends at 4" {
			t.Errorf("%+v", st)
		}
	})
}

// Where an inbox begins: at 0, at what there is, or behind it. The beginning that is gone halts.
func TestStart(t *testing.T) {
	t.Parallel()
	for start, want := range map[Start][]string{
		Beginning: nil, Earliest: numbers(3, 8),
		End: numbers(6, 8),
	} {
		t.Run(start.String(), func(t *testing.T) {
			t.Parallel()
			inLab(t, 1, func(t *testing.T, l *lab) {
				l.produce(0, "a", 0, 6)
				l.deleteBefore(0, 3)
				cfg := l.config()
				cfg.Start = start
				in, stop := l.start(cfg)
				defer stop()
				if start == Beginning {
					if st := l.untilState(in, 0, Halted); st.Expected != "offset 0" ||
						st.Found != "a log that starts at 3" {
						t.Errorf("%+v", st)
					}
					return
				}
				l.untilState(in, 0, Running)
				l.produce(0, "a", 6, 8)
				l.untilNext(0, 8)
				if got := l.seen(0, "a"); !slices.Equal(got, want) {
					t.Error(got)
				}
			})
		})
	}
}

// Partitions that are added begin at their beginning, whatever the inbox's start was; if the state
// would be elsewhere the topic halts.
func TestPartitionsAdded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		to     int
		policy ChangePolicy
		halts  bool
	}{
		"a multiple":            {4, HaltOnChange, false},
		"not a multiple, halt":  {3, HaltOnChange, true},
		"not a multiple, go on": {3, ContinueOnChange, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inLab(t, 2, func(t *testing.T, l *lab) {
				cfg := l.config()
				cfg.Start, cfg.OnPartitionsAdded = End, c.policy
				_, stop := l.start(cfg)
				l.until("begun", func() bool { return l.next(1) == 0 })
				stop()
				if _, err := l.kadm().UpdatePartitions(t.Context(), c.to, events); err != nil {
					t.Fatal(err)
				}
				l.kafka.ForceMetadataRefresh()
				time.Sleep(time.Second)
				l.produce(2, "a", 0, 5)
				in, stop := l.start(cfg)
				defer stop()
				if c.halts {
					if st := l.untilState(in, 2, Halted); st.Found != "3" {
						t.Errorf("%+v", st)
					}
					return
				}
				// under the tag of partition 0
				l.until("applied", func() bool { return len(l.seen(0, "a")) == 5 })
				if st := l.untilState(in, 2, Running); st.Position.Next != 5 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// A position moves behind the markers of transactions, so that retention, which takes everything,
// does not pass it.
func TestPassesMarkers(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		client, err := kgo.NewClient(append(slices.Clone(l.opts), kgo.TransactionalID("relay"))...)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		for i := range 3 {
			if err := client.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			if err := client.ProduceSync(t.Context(),
				&kgo.Record{
					Topic: events, Key: []byte("a"),
					Value: []byte(fmt.Sprint(i)),
				}).FirstErr(); err != nil {
				t.Fatal(err)
			}
			if err := client.EndTransaction(t.Context(), i != 1); err != nil { // the second one is aborted
				t.Fatal(err)
			}
		}
		cfg := l.config()
		in, stop := l.start(cfg)
		l.untilNext(0, 6)
		l.until("lag 0", func() bool { return in.Status()[0].Lag == 0 })
		stop()
		if got := l.seen(0, "a"); !slices.Equal(got, []string{"0", "2"}) {
			t.Errorf("read_committed gives %v", got)
		}
		l.deleteBefore(0, 6)
		in, stop = l.start(cfg)
		defer stop()
		l.untilState(in, 0, Running)
		if pos := in.Status()[0].Position; pos.Count != 2 {
			t.Errorf("%+v", pos)
		}
	})
}

// Redis that goes back to an older state takes the position with it, and heals; dead letters of
// what is applied again are not left over.
func TestRedisGoesBack(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprintf("running %v", running), func(t *testing.T) {
			t.Parallel()
			parkOrNot := func(l *lab, cfg *Config, fail *bool) {
				cfg.OnError = Park
				cfg.Handle = func(ctx context.Context, tx *Tx, r Record) error {
					if *fail && (string(r.Value) == "8" || string(r.Value) == "3") {
						return Poison(errBroken)
					}
					return l.tally(ctx, tx, r)
				}
			}
			inLab(t, 1, func(t *testing.T, l *lab) {
				cfg := l.config()
				fail := true
				parkOrNot(l, &cfg, &fail)
				l.produce(0, "c", 3, 4)
				l.produce(0, "a", 0, 3)
				_, stop := l.start(cfg)
				l.untilNext(0, 4)
				time.Sleep(5 * time.Second)
				stop()
				snapshot := l.snapshot()
				cfg.Instance = "i2"
				in, stop := l.start(cfg)
				l.produce(0, "a", 4, 8)
				l.produce(0, "c", 4, 5)
				l.produce(0, "b", 8, 10)
				l.untilNext(0, 11)
				time.Sleep(5 * time.Second) // the group's offsets follow
				if n := len(l.letters(cfg)); n != 4 {
					t.Fatalf("%d letters", n)
				}
				if !running {
					stop()
				}
				fail = false
				l.restore(snapshot)
				if !running { // else it notices by itself, though nothing comes
					in, stop = l.start(cfg)
				}
				defer stop()
				l.until("healed", func() bool { return slices.Equal(l.seen(0, "b"), numbers(8, 10)) })
				l.untilNext(0, 11)
				if a := l.seen(0, "a"); !slices.Equal(a[:7], append(numbers(0, 3), numbers(4, 8)...)) {
					t.Error(a)
				}
				// c was parked before the snapshot, and still is; b is not any more.
				if letters := l.letters(cfg); len(letters) != 2 || letters[0].Offset != 0 ||
					letters[1].Offset != 8 {
					t.Errorf("%+v", letters)
				}
				if st := l.untilState(in, 0, Running); st.ParkedKeys != 1 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// Redis that has lost everything begins where the inbox once began, not where it would begin now.
func TestRedisLosesEverything(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprintf("running %v", running), func(t *testing.T) {
			t.Parallel()
			inLab(t, 2, func(t *testing.T, l *lab) {
				l.produce(0, "a", 0, 4)
				cfg := l.config()
				cfg.Start = End
				in, stop := l.start(cfg)
				l.untilState(in, 0, Running)
				l.produce(0, "a", 4, 10)
				l.untilNext(0, 10)
				time.Sleep(5 * time.Second)
				if !running {
					stop()
				}
				if err := l.redis.FlushAll(t.Context()).Err(); err != nil {
					t.Fatal(err)
				}
				if !running { // else it notices by itself, though nothing comes
					_, stop = l.start(cfg)
				}
				defer stop()
				l.until("healed", func() bool { return slices.Equal(l.seen(0, "a"), numbers(4, 10)) })
			})
		})
	}
}

// A configuration that would look for the positions elsewhere is refused.
func TestLayoutIsKept(t *testing.T) {
	t.Parallel()
	inLab(t, 4, func(t *testing.T, l *lab) {
		cfg := l.config()
		in, stop := l.start(cfg)
		l.until("begun", func() bool { return len(in.Status()) == 4 })
		stop()
		cfg.Slots = 2
		again, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Run(t.Context()); err == nil ||
			!strings.Contains(err.Error(), "4 tags of \"shipping\", the configuration asks for 2") {
			t.Errorf("got %v", err)
		}
	})
}

// snapshot is what Redis has; restore brings it back, as a restart from an older file does.
func (l *lab) snapshot() map[string]string {
	l.t.Helper()
	all := map[string]string{}
	for _, key := range l.mini.Keys() {
		switch l.mini.Type(key) {
		case "string":
			all[key], _ = l.mini.Get(key)
		case "list":
			items, _ := l.mini.List(key)
			all["list "+key] = strings.Join(items, " ")
		case "hash":
			fields, _ := l.mini.HKeys(key)
			for _, f := range fields {
				all["hash "+key+" "+f] = l.mini.HGet(key, f)
			}
		default:
			l.t.Fatalf("%s is a %s", key, l.mini.Type(key))
		}
	}
	return all
}

func (l *lab) restore(all map[string]string) {
	l.t.Helper()
	pipe := l.redis.TxPipeline()
	pipe.FlushAll(l.t.Context())
	for key, value := range all {
		if list, ok := strings.CutPrefix(key, "list "); ok {
			pipe.RPush(l.t.Context(), list, strings.Split(value, " "))
		} else if hash, ok := strings.CutPrefix(key, "hash "); ok {
			name, field, _ := strings.Cut(hash, " ")
			pipe.HSet(l.t.Context(), name, field, value)
		} else {
			pipe.Set(l.t.Context(), key, value, 0)
		}
	}
	if _, err := pipe.Exec(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
}
