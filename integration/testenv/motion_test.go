package testenv

import (
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/relay"
)

func TestMotion(t *testing.T) {
	t.Parallel()
	start := time.Unix(1000, 0)
	steps := []struct {
		second  int
		at, end uint64
		want    int // seconds of stillness
	}{
		{0, 0, 0, 0},   // nothing to do
		{10, 0, 0, 0},  // still nothing
		{11, 0, 5, 1},  // entries wait since a second at most
		{15, 0, 5, 5},  //
		{16, 3, 5, 0},  // progress
		{18, 3, 5, 2},  //
		{19, 2, 5, 3},  // a mirror that was set back is no progress
		{20, 3, 5, 4},  // nor is its return
		{21, 5, 5, 0},  // all delivered
		{40, 5, 5, 0},  //
		{50, 5, 6, 10}, // looked at rarely: what came meanwhile counts from the last look
	}
	var m motion
	for _, s := range steps {
		got := m.look(start.Add(time.Duration(s.second)*time.Second), id(s.at), id(s.end))
		if got != time.Duration(s.want)*time.Second {
			t.Errorf("at second %d: still for %s, want %d s", s.second, got, s.want)
		}
	}
	m.skip(8 * time.Second)
	if got := m.look(start.Add(51*time.Second), id(5), id(6)); got != 3*time.Second {
		t.Errorf("after a pause of 8 s: still for %s, want 3 s", got)
	}
}

// Who has said why has the whole time again, and who moves needs no reason.
func TestSilence(t *testing.T) {
	t.Parallel()
	start := time.Unix(1000, 0)
	second := func(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }
	var m motion
	m.look(second(0), id(0), id(5))
	if got := m.silent(second(9)); got != 9*time.Second {
		t.Errorf("never heard of: silent for %s", got)
	}
	m.heard = second(9)
	if got := m.silent(second(12)); got != 3*time.Second {
		t.Errorf("after it told: silent for %s", got)
	}
	m.skip(2 * time.Second)
	if got := m.silent(second(12)); got != time.Second {
		t.Errorf("after a pause: silent for %s", got)
	}
	m.look(second(20), id(1), id(5))
	if got := m.silent(second(21)); got != time.Second {
		t.Errorf("after it moved: silent for %s", got)
	}
}

func TestStatusAccountsForStillness(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	at := now.Add(-time.Second).UnixMilli()
	for name, c := range map[string]struct {
		st   Status
		want bool
	}{
		"running":                  {Status{State: relay.StateRunning, AtMS: at}, false},
		"running with a reason":    {Status{State: relay.StateRunning, Reason: "why", AtMS: at}, false},
		"waiting without a reason": {Status{State: relay.StateWaiting, AtMS: at}, false},
		"waiting with a reason":    {Status{State: relay.StateWaiting, Reason: "why", AtMS: at}, true},
		"told long ago":            {Status{State: relay.StateRunning, AtMS: at - 10_000}, true},
		"never told":               {Status{}, true},
	} {
		if got := c.st.accounts(now); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}
