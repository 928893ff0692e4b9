package demo

import (
	"testing"
	"time"
)

// written is a ledger with one order whose first n steps are confirmed.
func written(n uint8) *ledger {
	l := newLedger()
	order := l.order()
	for step := uint8(1); step <= n; step++ {
		l.begin(event{order, step})
		l.confirm(event{order, step})
	}
	return l
}

func TestLedgerFindsWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name    string
		arrives []event
		want    counts
		lost    int
	}{
		{"all, in order", []event{{0, 1}, {0, 2}, {0, 3}}, counts{Written: 3, Delivered: 3}, 0},
		{"one is missing", []event{{0, 1}, {0, 3}}, counts{Written: 3, Delivered: 2}, 1},
		{"none came", nil, counts{Written: 3}, 3},
		{
			"one twice",
			[]event{{0, 1}, {0, 2}, {0, 2}, {0, 3}},
			counts{Written: 3, Delivered: 3, Duplicates: 1},
			0,
		},
		{
			"an early one again at the end",
			[]event{{0, 1}, {0, 2}, {0, 3}, {0, 1}},
			counts{Written: 3, Delivered: 3, Duplicates: 1},
			0,
		},
		{
			"two changed places",
			[]event{{0, 2}, {0, 1}, {0, 3}},
			counts{Written: 3, Delivered: 3, OutOfOrder: 1},
			0,
		},
		{
			"the first came last",
			[]event{{0, 2}, {0, 3}, {0, 1}},
			counts{Written: 3, Delivered: 3, OutOfOrder: 1},
			0,
		},
		{
			"one that was never begun",
			[]event{{0, 1}, {0, 2}, {0, 3}, {0, 4}},
			counts{Written: 3, Delivered: 3, Unknown: 1},
			0,
		},
		{
			"of an order that there is not",
			[]event{{7, 1}, {-1, 1}, {0, 0}, {0, 200}},
			counts{Written: 3, Unknown: 4},
			3,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := written(3)
			for _, e := range c.arrives {
				l.deliver(e)
			}
			got, _, _, _ := l.state()
			if got != c.want || l.lost() != c.lost {
				t.Errorf("%+v and %d lost, want %+v and %d", got, l.lost(), c.want, c.lost)
			}
		})
	}
}

func TestLedgerTakesAnEventBeforeItsConfirmation(t *testing.T) {
	l := newLedger()
	e := event{l.order(), 1}
	l.begin(e)
	l.deliver(e)
	l.confirm(e)
	got, p50, p99, moved := l.state()
	if want := (counts{Written: 1, Delivered: 1}); got != want || l.lost() != 0 {
		t.Errorf("%+v and %d lost, want %+v and none", got, l.lost(), want)
	}
	if p50 > time.Minute || p99 < p50 || time.Since(moved) > time.Minute {
		t.Errorf("p50 %v, p99 %v, moved %v", p50, p99, moved)
	}
}

// An EXEC whose reply never came may or may not have been done: neither is a fault.
func TestLedgerDoesNotMissWhatWasNotConfirmed(t *testing.T) {
	l := newLedger()
	l.begin(event{l.order(), 1})
	if l.lost() != 0 {
		t.Error("an event without a confirmed EXEC counts as lost")
	}
	l.deliver(event{0, 1})
	if got, _, _, _ := l.state(); got.Unknown != 0 || got.Delivered != 1 {
		t.Errorf("%+v", got)
	}
}
