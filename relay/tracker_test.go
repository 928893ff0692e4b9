package relay

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-outbox/sluice/outbox"
)

func TestTrackerTellsNews(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		s := l.source(t, l.config()).tracker
		halt := func(found string) *HaltError {
			return &HaltError{Entry: outbox.EntryID{MS: 5}, Expected: "e", Found: found}
		}
		s.set(StateStarting, "", nil)
		s.set(StateStarting, "", nil)
		s.set(StateRunning, "", nil)
		s.set(StateRunning, "", nil)
		s.set(StateWaiting, "one", nil)
		since := s.Status().Since
		time.Sleep(time.Second)
		s.set(StateWaiting, "two", nil)
		if s.Status().Since != since {
			t.Error("another reason for the same state is not a new state")
		}
		s.set(StateHalted, "r", halt("f"))
		s.set(StateHalted, "r", halt("f"))
		s.set(StateHalted, "r", halt("other evidence"))
		s.set(StateRunning, "", nil)
		if st := s.Status(); st.Entry != "" || st.Expected != "" || st.Found != "" || st.Reason != "" {
			t.Errorf("left over: %+v", st)
		}
		var got []string
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, st := range l.states {
			got = append(got, strings.TrimSpace(fmt.Sprint(st.State, " ", st.Reason, st.Found)))
		}
		want := "starting,running,waiting one,waiting two,halted rf,halted rother evidence,running"
		if strings.Join(got, ",") != want {
			t.Errorf("told %s\nwant %s", strings.Join(got, ","), want)
		}
	})
}
