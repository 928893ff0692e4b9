package delivery

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A slot has one lane at a time, and another one when that is dead. How many it makes is bounded in
// time.
func TestSlot(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		e, end := l.engine()
		defer end()
		s := e.mains[0]
		get := func() *lane {
			t.Helper()
			x, err := s.get(t.Context(), func(string) {})
			if err != nil {
				t.Fatal(err)
			}
			return x
		}
		first := get()
		if get() != first {
			t.Error("another lane, though the first one lives")
		}
		lost := errors.New("lost")
		first.kill(lost)
		began := time.Now()
		second := get()
		if second == first || second.name == first.name || time.Since(began) > 0 {
			t.Errorf("lane %s after %s, in %s", second.name, first.name, time.Since(began))
		}
		if second.pace != first.pace {
			t.Error("the pace is lost with the lane")
		}
		// One that ends early again and again is made rarer and rarer.
		made := 0
		for began = time.Now(); time.Since(began) < time.Minute; made++ {
			get().kill(lost)
		}
		if made > 30 {
			t.Errorf("%d lanes in a minute", made)
		}
		// One that has lived is followed at once.
		x := get()
		time.Sleep(youngLane + time.Second)
		x.kill(lost)
		began = time.Now()
		if get(); time.Since(began) > 0 {
			t.Errorf("waited for %s behind a lane that has lived", time.Since(began))
		}
	})
}

func TestSlotWithoutKafka(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		denied := l.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.InitProducerID},
			Err:  kerr.TransactionalIDAuthorizationFailed, Count: -1,
		})
		e, end := l.engine()
		defer end()
		began := time.Now()
		for range 10 {
			if _, err := e.mains[0].get(t.Context(), func(string) {}); !errors.Is(err,
				kerr.TransactionalIDAuthorizationFailed) {
				t.Errorf("got %v", err)
			}
		}
		if took := time.Since(began); took < 10*time.Second {
			t.Errorf("tried ten times in %s", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := e.mains[0].get(ctx, func(string) {}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		denied.Remove()
		if _, err := e.mains[0].get(t.Context(), func(string) {}); err != nil {
			t.Error(err)
		}
	})
}
