package delivery

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A shard whose ownership is in doubt takes no seat; one that has a seat goes on.
func TestSuspend(t *testing.T) {
	t.Parallel()
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		a, b := newFlow(0), newFlow(1)
		e, end := l.engine()
		defer end()
		l.run(e, a)
		l.state(a, Running)
		e.Suspend("nobody knows whose it is")
		l.run(e, b)
		l.state(b, Waiting)
		for _, f := range []*flow{a, b} {
			f.add(5, place{"events", 0})
		}
		l.delivered(a)
		time.Sleep(time.Minute)
		if b.seen().committed != 0 || b.seen().reason != "nobody knows whose it is" {
			t.Errorf("%d committed, %s: %s", b.seen().committed, b.seen().state, b.seen().reason)
		}
		// Nor a new one, when the lane has ended.
		l.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.EndTxn}, Err: kerr.UnknownServerError,
			TopLevel: true, Count: 1,
		})
		a.add(5, place{"events", 0})
		l.state(a, Waiting)
		time.Sleep(time.Minute)
		if a.seen().committed != 5 {
			t.Errorf("%d committed", a.seen().committed)
		}
		e.Resume()
		l.delivered(a, b)
		end()
		l.check(a, b)
	})
}

// A source that gave its seat back is not fenced by the shard's next owner, so it ends when
// ownership is in doubt.
func TestSuspendWithoutSeat(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		f := newFlow(0)
		f.alone = true
		working := func() (yes bool) {
			f.set(func() { yes = f.working })
			return yes
		}
		e, end := l.engine()
		defer end()
		l.run(e, f)
		l.until("the source works", working)
		e.Wake() // nothing is in doubt
		time.Sleep(time.Second)
		if runs := f.seen().runs; runs != 1 {
			t.Errorf("it ran %d times", runs)
		}
		e.Suspend("nobody knows whose it is")
		l.until("the source has ended", func() bool { return !working() })
		l.state(f, Waiting)
		time.Sleep(time.Minute)
		if f.seen().runs != 1 {
			t.Errorf("it ran again: %q", f.told())
		}
		e.Resume()
		l.until("the source works again", working)
	})
}
