package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func entriesOf(n int) *Batch { return &Batch{Entries: n, Bytes: 100 * n, Cost: int64(100 * n)} }

// all takes whatever waits.
func (s *Seat) takeAll() (taken []*Batch) {
	for b := s.next(func(*Batch) bool {
		return true
	}); b != nil; b = s.next(func(*Batch) bool { return true }) {
		taken = append(taken, b)
	}
	return taken
}

// held are the bytes of the budget that are not free.
func (l *lane) held() int64 {
	free := int64(0)
	for l.engine.budget.sem.TryAcquire(1) {
		free++
	}
	l.engine.budget.sem.Release(free)
	return l.engine.budget.size - free
}

func TestSeatQueues(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, seats := desk(0)
		s := seats[0]
		if s.hasWork() || !s.waiting().IsZero() || l.ready() {
			t.Error("a new seat has work")
		}
		began := time.Now()
		first, second := entriesOf(1), entriesOf(2)
		for _, b := range []*Batch{first, second} {
			if err := s.Send(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if !s.hasWork() || s.waiting() != began || !l.ready() || l.held() != 300 {
			t.Errorf("work %v since %s, %d bytes are held", s.hasWork(), s.waiting(), l.held())
		}
		if b := s.next(func(*Batch) bool { return false }); b != nil {
			t.Error("taken, though it does not fit")
		}
		if b := s.next(func(b *Batch) bool { return b == first }); b != first {
			t.Error("not the first one")
		}
		if s.next(func(*Batch) bool {
			return true
		}) != second || s.next(func(*Batch) bool { return true }) != nil {
			t.Error("not the second one")
		}
		if s.hasWork() || s.waiting() != began {
			t.Errorf("in the transaction: work %v, waiting since %s", s.hasWork(), s.waiting())
		}
		s.committed(json.RawMessage("{}"), nil, true)
		if !s.waiting().IsZero() || string(s.Position()) != "{}" {
			t.Errorf("committed: waiting since %s, position %s", s.waiting(), s.Position())
		}
	})
}

// What a seat holds is bounded by number and by bytes: a source waits.
func TestSeatSendWaits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cost int64
		fits int
	}{"by number": {1, maxQueue}, "by bytes": {300 << 10, 3}} { // the desk has 1 MiB
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l, seats := desk(0)
				s := seats[0]
				sent := 0
				done := make(chan error, 1)
				go func() {
					for range 200 {
						b := entriesOf(1)
						b.Cost = c.cost
						if err := s.Send(t.Context(), b); err != nil {
							done <- err
							return
						}
						sent++
					}
					done <- nil
				}()
				taken := 0
				for taken < 200 {
					synctest.Wait()
					if waits := sent - taken; waits > c.fits || waits < min(c.fits, 200-taken) {
						t.Fatalf("%d batches wait, want %d", waits, c.fits)
					}
					for _, b := range s.takeAll() {
						l.engine.budget.release(b)
						taken++
					}
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
				if n := l.held(); n != 0 {
					t.Errorf("%d bytes are held", n)
				}
			})
		})
	}
}

// A seat that ends wakes those who wait, and gives back what it held.
func TestSeatEnds(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost")
	for name, c := range map[string]struct {
		end  func(s *Seat)
		want error
	}{
		"dropped":  {func(s *Seat) { s.drop(lost) }, lost},
		"closing":  {func(s *Seat) { s.drop(nil) }, errReleased},
		"released": {func(s *Seat) { s.drop(nil); s.drop(errReleased) }, errReleased},
		"twice":    {func(s *Seat) { s.drop(lost); s.drop(errReleased) }, lost},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l, seats := desk(0)
				s := seats[0]
				failed := make(chan error, 1)
				go func() {
					for {
						if err := s.Send(t.Context(), entriesOf(1)); err != nil {
							failed <- err
							return
						}
					}
				}()
				synctest.Wait()
				c.end(s)
				if err := <-failed; !errors.Is(err, c.want) {
					t.Errorf("Send gives %v, want %v", err, c.want)
				}
				if err := s.Send(t.Context(), entriesOf(1)); !errors.Is(err, c.want) {
					t.Errorf("Send gives %v afterwards, want %v", err, c.want)
				}
				if s.hasWork() || l.held() != 0 {
					t.Errorf("work %v, %d bytes are held", s.hasWork(), l.held())
				}
				if name != "closing" {
					<-s.dead
					if err := s.Drain(t.Context()); !errors.Is(err, c.want) {
						t.Errorf("Drain gives %v, want %v", err, c.want)
					}
				}
				if s.released() != (name == "released") {
					t.Errorf("released is %v", s.released())
				}
			})
		})
	}
}

func TestSeatSendEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, seats := desk(0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var err error
		n := 0
		for ; err == nil; n++ {
			err = seats[0].Send(ctx, entriesOf(1))
		}
		if !errors.Is(err, context.DeadlineExceeded) || n != maxQueue+1 {
			t.Errorf("the %d. gives %v", n, err)
		}
		if held := l.held(); held != 100*maxQueue {
			t.Errorf("%d bytes are held", held)
		}
		if err := seats[0].Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain gives %v", err)
		}
	})
}

func TestSeatDrains(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, seats := desk(0)
		s := seats[0]
		if err := s.Drain(t.Context()); err != nil {
			t.Errorf("with nothing to wait for: %v", err)
		}
		if err := s.Send(t.Context(), entriesOf(1)); err != nil {
			t.Fatal(err)
		}
		drained := make(chan error, 1)
		go func() { drained <- s.Drain(t.Context()) }()
		synctest.Wait()
		s.takeAll()
		synctest.Wait()
		select {
		case err := <-drained:
			t.Errorf("drained before the commit: %v", err)
		default:
		}
		s.committed(nil, nil, true)
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

// A reset drops what waits, lets the open transaction end, and opens the seat again.
func TestSeatReset(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, seats := desk(0)
		s := seats[0]
		for range 3 {
			if err := s.Send(t.Context(), entriesOf(1)); err != nil {
				t.Fatal(err)
			}
		}
		flying := s.next(func(*Batch) bool { return true })
		reset := make(chan error, 1)
		go func() { reset <- s.reset(t.Context()) }()
		synctest.Wait()
		if err := s.Send(t.Context(), entriesOf(1)); !errors.Is(err, errReleased) {
			t.Errorf("Send gives %v meanwhile", err)
		}
		l.engine.budget.release(flying)
		s.committed(nil, nil, true)
		if err := <-reset; err != nil {
			t.Fatal(err)
		}
		if s.hasWork() || l.held() != 0 {
			t.Errorf("work %v, %d bytes are held", s.hasWork(), l.held())
		}
		if err := s.Send(t.Context(), entriesOf(1)); err != nil || !s.hasWork() {
			t.Errorf("Send gives %v afterwards", err)
		}
		s.drop(errLaneEnded)
		if err := s.reset(t.Context()); !errors.Is(err, errLaneEnded) {
			t.Errorf("a reset of a dead seat gives %v", err)
		}
	})
}

// Refusals reach the source once, and nothing that was read before is sent.
func TestSeatRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, seats := desk(0)
		s := seats[0]
		for range 3 {
			if err := s.Send(t.Context(), entriesOf(1)); err != nil {
				t.Fatal(err)
			}
		}
		l.engine.budget.release(s.next(func(*Batch) bool { return true }))
		s.refuse([]Refusal{{Err: errors.New("no")}})
		if s.hasWork() || l.held() != 0 || !s.waiting().IsZero() {
			t.Errorf("work %v, %d bytes are held, waiting since %s", s.hasWork(), l.held(), s.waiting())
		}
		if err := s.Send(t.Context(), entriesOf(1)); !errors.Is(err, errReleased) {
			t.Errorf("Send gives %v before the source has looked", err)
		}
		if got := <-s.refusals; len(got) != 1 {
			t.Errorf("got %v", got)
		}
	})
}

func TestSeatAtEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, seats := desk(0)
		s := seats[0]
		check := func(when string, want bool) {
			t.Helper()
			if got := s.atEnd(time.Now(), time.Second); got != want {
				t.Errorf("%s: %v", when, got)
			}
		}
		check("new", false)
		s.committed(nil, nil, true)
		check("just now", false)
		time.Sleep(1100 * time.Millisecond)
		check("for a while", true)
		s.committed(nil, nil, true)
		check("still", true)
		s.committed(nil, nil, false)
		check("with a backlog", false)
		s.CaughtUp()
		time.Sleep(1100 * time.Millisecond)
		check("nothing to read for a while", true)
		s.CaughtUp()
		check("told again", true)
	})
}
