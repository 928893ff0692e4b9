package inbox

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"
)

// Whatever the size of a transaction, every record takes effect once and in order.
func TestBatchSizesHaveTheSameEnd(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 2, 7, 1000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			inLab(t, 2, func(t *testing.T, l *lab) {
				for p := range int32(2) {
					l.produce(p, "a", 0, 50)
					l.produce(p, "b", 0, 50)
				}
				cfg := l.config()
				cfg.MaxRecords = size
				in, stop := l.start(cfg)
				defer stop()
				for p := range int32(2) {
					l.untilNext(p, 100)
				}
				l.until("lag 0", func() bool {
					return !slices.ContainsFunc(in.Status(), func(st PartitionStatus) bool { return st.Lag != 0 })
				})
				if err := in.Ready(); err != nil {
					t.Error(err)
				}
				for p := range 2 {
					for _, key := range []string{"a", "b"} {
						if got := l.seen(p, key); !slices.Equal(got, numbers(0, 50)) {
							t.Errorf("partition %d, key %s: %v", p, key, got)
						}
					}
				}
				for _, st := range in.Status() {
					if st.State != Running || st.Position.Count != 100 || st.Lag != 0 || st.ParkedKeys != 0 {
						t.Errorf("%+v, position %+v", st, st.Position)
					}
				}
				l.mu.Lock()
				defer l.mu.Unlock()
				most, records := 0, 0
				for _, c := range l.applied {
					most, records = max(most, c.Records), records+c.Records
				}
				if most > size || size == 1000 && most < 50 || records != 200 {
					t.Errorf("%d records, at most %d in a transaction of %d", records, most, size)
				}
			})
		})
	}
}

// A second start goes on where the first one stopped, also if another instance makes it.
func TestRestartGoesOn(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.produce(0, "a", 0, 10)
		_, stop := l.start(l.config())
		l.untilNext(0, 10)
		stop()
		l.produce(0, "a", 10, 20)
		cfg := l.config()
		cfg.Instance = "i2"
		_, stop = l.start(cfg)
		defer stop()
		l.untilNext(0, 20)
		if got := l.seen(0, "a"); !slices.Equal(got, numbers(0, 20)) {
			t.Error(got)
		}
	})
}

// Partitions move between instances, and the group's offsets follow.
func TestInstancesShareThePartitions(t *testing.T) {
	t.Parallel()
	inLab(t, 4, func(t *testing.T, l *lab) {
		one, stopOne := l.start(l.config())
		defer stopOne()
		l.until("all four", func() bool { return len(one.Status()) == 4 })
		cfg := l.config()
		cfg.Instance = "i2"
		two, stopTwo := l.start(cfg)
		l.until("two each", func() bool { return len(one.Status()) == 2 && len(two.Status()) == 2 })
		for p := range int32(4) {
			l.produce(p, "a", 0, 20)
		}
		for p := range int32(4) {
			l.untilNext(p, 20)
		}
		stopTwo()
		l.until("all four again", func() bool { return len(one.Status()) == 4 })
		for p := range int32(4) {
			l.produce(p, "a", 20, 30)
		}
		for p := range int32(4) {
			l.untilNext(p, 30)
			if got := l.seen(int(p), "a"); !slices.Equal(got, numbers(0, 30)) {
				t.Errorf("partition %d: %v", p, got)
			}
		}
		l.until("the group's offsets", func() bool {
			offsets, err := l.kadm().FetchOffsets(t.Context(), Group("shipping"))
			if err != nil {
				t.Fatal(err)
			}
			for p := range int32(4) {
				if o, ok := offsets.Lookup(events, p); !ok || o.At != 30 {
					return false
				}
			}
			return true
		})
	})
}

// An instance that was overtaken while its handler ran has no effect, and goes on from where the
// other one is.
func TestOvertakenInstanceHasNoEffect(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.produce(0, "a", 0, 5)
		held, free := make(chan struct{}), make(chan struct{})
		older := l.config()
		older.Instance, older.Assign = "older", map[string][]int32{events: {0}}
		runs := 0
		older.Handle = func(ctx context.Context, tx *Tx, r Record) error {
			if runs++; runs == 1 {
				close(held)
				<-free
			}
			tx.Queue().Set(ctx, "by", "older", 0)
			return l.tally(ctx, tx, r)
		}
		_, stopOlder := l.start(older)
		defer stopOlder()
		<-held
		newer := l.config()
		newer.Instance, newer.Assign = "newer", map[string][]int32{events: {0}}
		_, stopNewer := l.start(newer)
		l.untilNext(0, 5)
		stopNewer()
		close(free)
		time.Sleep(time.Minute)
		if l.redis.Exists(t.Context(), "by").Val() != 0 {
			t.Error("the older instance had an effect")
		}
		l.produce(0, "a", 5, 10)
		l.untilNext(0, 10)
		if got := l.seen(0, "a"); !slices.Equal(got, numbers(0, 10)) {
			t.Error(got)
		}
	})
}

// Two instances on one partition on purpose get in each other's way, and nothing takes effect
// twice.
func TestTwoOwners(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		for i := range 2 {
			cfg := l.config()
			cfg.Instance, cfg.MaxRecords, cfg.Assign = fmt.Sprint("owner-", i), 3,
				map[string][]int32{events: {0}}
			_, stop := l.start(cfg)
			defer stop()
		}
		for i := range 20 {
			l.produce(0, "a", 10*i, 10*i+10)
			time.Sleep(time.Second)
		}
		l.untilNext(0, 200)
		if got := l.seen(0, "a"); !slices.Equal(got, numbers(0, 200)) {
			t.Error(got)
		}
	})
}
