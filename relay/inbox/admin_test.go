package inbox

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// An operator pauses a partition, or all of them, from another process, sees who did it, and
// resumes.
func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	for name, target := range map[string]Target{"one": {Topic: events, Partition: 0}, "all": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inLab(t, 2, func(t *testing.T, l *lab) {
				cfg := l.config()
				in, stop := l.start(cfg)
				defer stop()
				l.untilState(in, 0, Running)
				admin := l.admin(cfg)
				defer admin.Close()
				if err := admin.Pause(t.Context(), target, "ann", "a migration"); err != nil {
					t.Fatal(err)
				}
				if st := l.untilState(in, 0, Paused); st.Reason != "paused by ann: a migration" {
					t.Errorf("%+v", st)
				}
				if err := in.Ready(); target.Topic == "" && err != nil {
					t.Errorf("paused on purpose, and not ready: %v", err)
				}
				l.produce(0, "a", 0, 3)
				l.produce(1, "a", 0, 3)
				time.Sleep(20 * time.Second)
				if l.next(0) != 0 || target.Topic != "" && l.next(1) != 3 {
					t.Errorf("positions %d and %d", l.next(0), l.next(1))
				}
				status, err := admin.Status(t.Context())
				if err != nil || len(status) != 2 || status[0].PausedBy != "paused by ann: a migration" ||
					status[0].State != Paused || status[0].Lag != 3 || status[0].ToldAt.IsZero() {
					t.Errorf("%+v, %v", status, err)
				}
				if was, err := admin.Resume(t.Context(), target); !was || err != nil {
					t.Error(was, err)
				}
				l.untilNext(0, 3)
				if was, err := admin.Resume(t.Context(), target); was || err != nil {
					t.Error(was, err)
				}
			})
		})
	}
}

// An inbox that has never run says so; what is not known is no number.
func TestStatusOfNothing(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.config()
		admin := l.admin(cfg)
		defer admin.Close()
		if _, err := admin.Status(t.Context()); !errors.Is(err, ErrNotStarted) {
			t.Error(err)
		}
		in, stop := l.start(cfg)
		l.untilState(in, 0, Running)
		stop()
		l.redis.Del(t.Context(), StatusKey("shipping"),
			keysOf("shipping", "shipping", 0, events, 0).position)
		status, err := admin.Status(t.Context())
		if err != nil || len(status) != 1 || status[0].Position != nil || status[0].Lag != -1 ||
			status[0].State != "" || status[0].Record != -1 || status[0].ParkedKeys != 0 {
			t.Errorf("%+v, %v", status, err)
		}
	})
}

// A reset back applies again, a reset forward skips, and both say beforehand how much; the owner
// that runs follows.
func TestResetWhileItRuns(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.config()
		in, stop := l.start(cfg)
		defer stop()
		l.produce(0, "a", 0, 4)
		time.Sleep(time.Hour)
		noon := time.Now()
		l.produce(0, "a", 4, 6)
		l.untilNext(0, 6)
		admin := l.admin(cfg)
		defer admin.Close()
		plan, err := admin.PlanReset(t.Context(), ResetTo{Time: noon})
		if err != nil || len(plan) != 1 || plan[0].To != 4 || plan[0].Again != 2 ||
			plan[0].Skipped != 0 || plan[0].From.Next != 6 {
			t.Fatalf("%+v, %v", plan, err)
		}
		if err := admin.Apply(t.Context(), plan[0], "ann"); err != nil {
			t.Fatal(err)
		}
		l.produce(0, "a", 6, 7)
		l.until("again", func() bool { return len(l.seen(0, "a")) == 9 })
		if got := l.seen(0, "a"); !slices.Equal(got, append(numbers(0, 6), "4", "5", "6")) {
			t.Error(got)
		}
		if err := admin.Pause(t.Context(), Target{}, "ann", ""); err != nil {
			t.Fatal(err)
		}
		l.untilState(in, 0, Paused)
		l.produce(0, "a", 7, 9)
		plan, err = admin.PlanReset(t.Context(), ResetTo{Target: Target{Topic: events}, End: true})
		if err != nil || plan[0].Skipped != 2 || plan[0].Again != 0 || plan[0].To != 9 {
			t.Fatalf("%+v, %v", plan, err)
		}
		if err := admin.Apply(t.Context(), plan[0], "ann"); err != nil {
			t.Fatal(err)
		}
		if _, err := admin.Resume(t.Context(), Target{}); err != nil {
			t.Fatal(err)
		}
		l.produce(0, "a", 9, 10)
		l.untilNext(0, 10)
		if got := l.seen(0, "a"); !slices.Equal(got, append(numbers(0, 6), "4", "5", "6", "9")) {
			t.Error(got)
		}
	})
}

func TestResetRefuses(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		cfg := l.config()
		in, stop := l.start(cfg)
		l.untilState(in, 0, Running)
		stop()
		admin := l.admin(cfg)
		defer admin.Close()
		offset := int64(5)
		for says, to := range map[string]ResetTo{
			"want one of":           {},
			"want one":              {Earliest: true, End: true},
			"needs a partition":     {Offset: &offset},
			"5 is not among":        {Offset: &offset, Target: Target{Topic: events}},
			"no partition":          {End: true, Target: Target{Topic: events, Partition: 9}},
			"topic x does not exis": {End: true, Target: Target{Topic: "x"}},
		} {
			if _, err := admin.PlanReset(t.Context(), to); err == nil ||
				!strings.Contains(err.Error(), says) {
				t.Errorf("want %q, got %v", says, err)
			}
		}
	})
}
