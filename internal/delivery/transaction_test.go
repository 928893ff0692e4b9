package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// send queues batches of a number of entries each.
func send(t *testing.T, s *Seat, atEnd bool, batches ...int) {
	t.Helper()
	for i, n := range batches {
		b := entriesOf(n)
		b.AtEnd = atEnd && i == len(batches)-1
		b.Position = func() ([]byte, error) { return json.Marshal(numbered{n}) }
		if err := s.Send(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
}

func nowhere(*kgo.Record, func(*kgo.Record, error)) {}

// carries are the entries of each seat in the lane's transaction.
func carries(seats []*Seat) (entries []int) {
	for _, s := range seats {
		if s.part == nil {
			entries = append(entries, 0)
		} else {
			entries = append(entries, s.part.entries)
		}
	}
	return entries
}

// A transaction without room for the batch that waits does not wait for a smaller one.
func TestFullWithRoomLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, seats := desk(0)
		l.pace = newPace(1<<20, 10)
		send(t, seats[0], false, 4, 4, 4)
		began := time.Now()
		l.collect(t.Context(), nowhere)
		if l.entries != 8 || time.Since(began) != 0 {
			t.Errorf("%d entries after %s", l.entries, time.Since(began))
		}
	})
}

// Each round takes one batch from each seat, and another seat is first the next time.
func TestRoundsTakeTurns(t *testing.T) {
	t.Parallel()
	l, seats := desk(0, 1, 2)
	for _, s := range seats {
		send(t, s, false, 1, 1, 1, 1)
	}
	firsts := map[*Seat]int{}
	for range 3 {
		l.parts, l.entries, l.bytes = l.parts[:0], 0, 0
		for _, s := range seats {
			s.part = nil
		}
		if took, full, atEnd := l.round(nowhere); !took || full || atEnd {
			t.Errorf("took %v, full %v, at the end %v", took, full, atEnd)
		}
		if got := carries(seats); !slices.Equal(got, []int{1, 1, 1}) {
			t.Errorf("a round has %v", got)
		}
		firsts[l.parts[0]]++
	}
	if len(firsts) != 3 {
		t.Errorf("%d of 3 seats were first", len(firsts))
	}
	none, _ := desk()
	if took, full, atEnd := none.round(nowhere); took || full || !atEnd {
		t.Errorf("without seats: took %v, full %v, at the end %v", took, full, atEnd)
	}
}

// A transaction is bounded by entries and by bytes. The first batch goes whatever its size.
func TestRoundsAreBounded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bytes, entries int // of the pace
		batches        []int
		want           int
	}{
		"within":                {1 << 20, 100, []int{30, 30}, 60},
		"entries":               {1 << 20, 100, []int{60, 60}, 60},
		"bytes":                 {5000, 100, []int{30, 30}, 30}, // of 100 bytes an entry
		"a giant":               {5000, 100, []int{300, 1}, 300},
		"a giant after another": {5000, 100, []int{1, 300}, 1},
		"exactly":               {1 << 20, 100, []int{50, 50}, 100},
	} {
		l, seats := desk(0)
		l.pace = newPace(c.bytes, c.entries)
		send(t, seats[0], false, c.batches...)
		for took := true; took && !l.pace.full(l.entries, l.bytes); {
			took, _, _ = l.round(nowhere)
		}
		if got := carries(seats)[0]; got != c.want {
			t.Errorf("%s: %d entries, want %d", name, got, c.want)
		}
	}
}

// A shard with a backlog has a share of a transaction with others that have none, and everything
// where it is alone, or among its like.
func TestFairShares(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, c := range map[string]struct {
		behind []bool
		active []time.Time // zero: never
		want   []int
	}{
		"alone": {[]bool{true}, []time.Time{now}, []int{4000}},
		"beside one that is well": {
			[]bool{true, false},
			[]time.Time{now, now},
			[]int{shareEntries, 5},
		},
		"beside one that is quiet": {
			[]bool{true, false},
			[]time.Time{now, now.Add(-2 * company)},
			[]int{4000, 5},
		},
		"beside one that was never": {[]bool{true, false}, []time.Time{now, {}}, []int{4000, 5}},
		"among its like":            {[]bool{true, true}, []time.Time{now, now}, []int{4000, 4000}},
		"among both": {
			[]bool{true, true, false},
			[]time.Time{now, now, now},
			[]int{shareEntries, shareEntries, 5},
		},
		"without a backlog as far as…": {[]bool{false, false}, []time.Time{now, now}, []int{4000, 4000}},
	} {
		ids := make([]int, len(c.behind))
		for i := range ids {
			ids[i] = i
		}
		l, seats := desk(ids...)
		for i, s := range seats {
			s.activeAt = c.active[i]
			if c.behind[i] {
				s.behindSince = now.Add(-time.Second)
			}
			if c.want[i] == 5 {
				send(t, s, true, 5)
			} else {
				send(t, s, false, slices.Repeat([]int{100}, 40)...)
			}
		}
		for took := true; took; {
			took, _, _ = l.round(nowhere)
		}
		if got := carries(seats); !slices.Equal(got, c.want) {
			t.Errorf("%s: the transaction carries %v, want %v", name, got, c.want)
		}
	}
	// The same by bytes.
	l, seats := desk(0, 1)
	seats[0].behindSince, seats[0].activeAt, seats[1].activeAt = now.Add(-time.Second), now, now
	for range 4 {
		if err := seats[0].Send(t.Context(), &Batch{Entries: 1, Bytes: shareBytes / 2}); err != nil {
			t.Fatal(err)
		}
	}
	for took := true; took; {
		took, _, _ = l.round(nowhere)
	}
	if got := seats[0].part.bytes; got != shareBytes {
		t.Errorf("%d bytes, want %d", got, shareBytes)
	}
}

// A seat that holds up its neighbours for a while is told to leave, unless all have a backlog.
func TestCrowdingIsTold(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, c := range map[string]struct {
		behind time.Duration // of the first; 0: it is at its end
		other  time.Duration
		want   bool
	}{
		"for a while":      {crowdAfter + time.Millisecond, 0, true},
		"not yet":          {crowdAfter - time.Millisecond, 0, false},
		"among its like":   {time.Minute, time.Minute, false},
		"has no backlog":   {0, 0, false},
		"beside a backlog": {0, time.Minute, false},
	} {
		l, seats := desk(0, 1)
		for i, behind := range []time.Duration{c.behind, c.other} {
			seats[i].activeAt = now
			if behind > 0 {
				seats[i].behindSince = now.Add(-behind)
			}
		}
		for range 2 { // once more does no harm
			l.tellCrowding(now)
		}
		if told := len(seats[0].crowding) > 0; told != c.want {
			t.Errorf("%s: told is %v", name, told)
		}
	}
}

// Nobody waits when a shard in the transaction is at its end; otherwise what is known to come is
// waited for, a little.
func TestCollectWaits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		atEnd bool
		later time.Duration // when more comes; 0: never
		took  time.Duration
		want  int
	}{
		"at its end": {true, 0, 0, 1},
		// the second one is the last
		"more comes":               {false, batchWait / 2, batchWait / 2, 2},
		"more comes too late":      {false, 2 * batchWait, batchWait, 1},
		"more is said, none comes": {false, 0, batchWait, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l, seats := desk(0)
				send(t, seats[0], c.atEnd, 1)
				if c.later > 0 {
					go func() {
						time.Sleep(c.later)
						send(t, seats[0], true, 1)
					}()
				}
				<-l.work
				began := time.Now()
				l.collect(t.Context(), nowhere)
				if took := time.Since(began); took != c.took {
					t.Errorf("it took %s, want %s", took, c.took)
				}
				if got := carries(seats)[0]; got != c.want {
					t.Errorf("%d entries, want %d", got, c.want)
				}
				time.Sleep(time.Second)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // and not for ever
		l, seats := desk(0)
		send(t, seats[0], false, 1)
		<-l.work
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		l.collect(ctx, nowhere)
		close(l.dead)
		l.collect(t.Context(), nowhere)
	})
}

// settle releases what was held, notes the position, and tells sources and whoever waits for
// controls.
func TestSettle(t *testing.T) {
	t.Parallel()
	l, seats := desk(0, 1)
	var told []Transaction
	l.engine.cfg.Transaction = func(x Transaction) { told = append(told, x) }
	flows := []*flow{newFlow(0), newFlow(1)}
	for i, s := range seats {
		s.shard.source = flows[i]
		send(t, s, i == 0, 2)
	}
	for took := true; took; {
		took, _, _ = l.round(nowhere)
	}
	for _, s := range l.parts {
		if _, err := s.part.seal(l.name); err != nil {
			t.Fatal(err)
		}
	}
	c := &control{done: make(chan struct{})}
	l.flying = []*control{c}
	l.settle(time.Now(), []*control{c})
	<-c.done
	if l.held() != 0 || len(l.parts) != 0 || l.flying != nil {
		t.Errorf("%d bytes are held, %d parts, %d controls", l.held(), len(l.parts), len(l.flying))
	}
	for i, s := range seats {
		if numberOf(s.Position()) != 2 || s.part != nil || flows[i].seen().state != Running {
			t.Errorf("shard %d: position %s, %s", i, s.Position(), flows[i].seen().state)
		}
	}
	if !seats[0].behindSince.IsZero() || seats[1].behindSince.IsZero() {
		t.Error("who has a backlog is not known")
	}
	if len(told) != 1 || told[0].Lane != l.name || told[0].Shards != 2 || told[0].Entries != 4 ||
		told[0].Bytes != 400 {
		t.Errorf("told of %+v", told)
	}
}

// What the observer counts are transactions that made entries visible: not claims, not handovers.
func TestTransactionsWithoutEntriesAreNotTold(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		f := newFlow(0)
		e, end := l.engine()
		defer end()
		l.run(e, f)
		l.state(f, Running)
		e.Remove(0)
		l.set(e, 0, func(int) int { return 7 })
		if told := l.transactions(); len(told) != 0 {
			t.Errorf("told of %+v", told)
		}
	})
}

// still is a lane with producers whose goroutine is the test.
func (l *lab) still(e *Engine, shards ...int) (*lane, []*Seat) {
	l.t.Helper()
	made, err := newProducers(l.t.Context(), &e.cfg, newLaneName(), &e.owed)
	if err != nil {
		l.t.Fatal(err)
	}
	x := &lane{
		engine: e, name: newLaneName(), kind: main, producers: made,
		pace: newPace(e.cfg.MaxBytes, e.cfg.MaxEntries),
		work: make(chan struct{}, 1), dead: make(chan struct{}), done: make(chan struct{}),
	}
	for _, id := range shards {
		if err := x.enter(newSeat(x, newShard(e, id, newFlow(id)))); err != nil {
			l.t.Fatal(err)
		}
	}
	return x, x.seats
}

// What waited was dropped before the transaction came to it: the next one is as if nothing had
// been.
func TestEmptyTransaction(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		e, end := l.engine()
		defer end()
		x, seats := l.still(e, 0)
		defer x.producers.close()
		if err := x.transaction(); err != nil {
			t.Fatalf("without anything to carry: %v", err)
		}
		for i := range 3 {
			send(t, seats[0], true, i+1)
			if err := x.transaction(); err != nil {
				t.Fatalf("the %d. transaction after an empty one: %v", i+1, err)
			}
		}
		if n := l.number(e, 0); n != 3 {
			t.Errorf("the position is %d", n)
		}
	})
}

// A transaction with one record that failed is not committed, whatever kgo's EndTransaction would
// say.
func TestCommitLooksAtEveryRecord(t *testing.T) {
	t.Parallel()
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		l.topic("others", 1)
		l.cluster.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.Produce}, Topic: "others",
			Err: kerr.InvalidRecord, Count: -1,
		})
		e, end := l.engine()
		defer end()
		x, seats := l.still(e, 0)
		defer x.producers.close()
		b := batchOf(`{"n":3}`, place{"events", 0}, place{"others", 0}, place{"events", 0})
		b.AtEnd = true
		if err := seats[0].Send(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		err := x.transaction()
		var failed *recordError
		if !errors.As(err, &failed) || failed.at != (place{"others", 0}) ||
			!errors.Is(err, kerr.InvalidRecord) {
			t.Errorf("got %v", err)
		}
		if x.producers.turn != 0 {
			t.Error("the turn has ended without a commit")
		}
		x.producers.close()
		time.Sleep(time.Minute) // its time-out
		if n := len(l.all("events", labTopic)); n != 0 {
			t.Errorf("%d records are visible", n)
		}
	})
}

// Claims and tombstones of many shards are in one transaction, and whoever waits for one learns its
// offset.
func TestControlsShareTransactions(t *testing.T) {
	t.Parallel()
	inLab(t, 3, func(t *testing.T, l *lab) {
		e, end := l.engine()
		defer end()
		x, _ := l.still(e)
		defer x.producers.close()
		offsets := make(chan string, 3)
		for shard := range 3 {
			k := keys{labOutbox, labTopic, shard}
			go func() {
				at, err := x.control(t.Context(), k.claim(x.name, "", time.Now()), k.tombstone("another"))
				offsets <- fmt.Sprint(at, " ", err)
			}()
		}
		synctest.Wait()
		commits := l.seen(kmsg.EndTxn, func(kmsg.Request) string { return "end" })
		if err := x.transaction(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if got := <-offsets; got != "1 <nil>" { // of the last one
				t.Errorf("told %s", got)
			}
		}
		if n := len(commits()); n != 1 {
			t.Errorf("%d transactions", n)
		}
		// A control whose context ends is no longer waited for.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := x.control(ctx, keys{labOutbox, labTopic, 0}.tombstone(x.name)); !errors.Is(err,
			context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// A lane that is killed while it sends controls wakes those who wait for them.
func TestControlsOfADeadLane(t *testing.T) {
	t.Parallel()
	for _, when := range []string{
		"before", "while they wait", "between taking and sending them",
		"after",
	} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			inLab(t, 1, func(t *testing.T, l *lab) {
				e, end := l.engine()
				defer end()
				x, _ := l.still(e)
				lost := errors.New("lost")
				if when == "before" {
					x.kill(lost)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				told := make(chan error, 1)
				go func() {
					_, err := x.control(ctx, keys{labOutbox, labTopic, 0}.claim(x.name, "", time.Now()))
					told <- err
				}()
				synctest.Wait()
				switch when {
				case "while they wait":
					x.kill(lost)
				case "between taking and sending them":
					client, err := x.producers.begin()
					if err != nil {
						t.Fatal(err)
					}
					// As if it were killed between the two times that the lock is taken.
					x.mu.Lock()
					x.err = lost
					close(x.dead)
					x.mu.Unlock()
					x.sendControls(ctx, client)
				case "after":
					client, err := x.producers.begin()
					if err != nil {
						t.Fatal(err)
					}
					x.sendControls(ctx, client)
					x.kill(lost)
				}
				x.finish(x.failure())
				if err := <-told; !errors.Is(err, lost) {
					t.Errorf("told %v", err)
				}
			})
		})
	}
}

// A dead lane gives back what its seats and its transaction held.
func TestFinish(t *testing.T) {
	t.Parallel()
	l, seats := desk(0, 1, 2)
	send(t, seats[0], false, 1, 1)
	send(t, seats[1], false, 1)
	if took, _, _ := l.round(nowhere); !took {
		t.Fatal("nothing was taken")
	}
	c := &control{done: make(chan struct{})}
	flying := &control{done: make(chan struct{})}
	l.controls, l.flying = []*control{c}, []*control{flying}
	l.finish(kerr.ProducerFenced)
	for _, c := range []*control{c, flying} {
		if <-c.done; !errors.Is(c.err, errFenced) {
			t.Errorf("a control is told %v", c.err)
		}
	}
	for i, s := range seats {
		if err := s.failure(); !errors.Is(err, errFenced) {
			t.Errorf("shard %d is told %v", i, err)
		}
	}
	if l.held() != 0 {
		t.Errorf("%d bytes are held", l.held())
	}
	if err := l.enter(seats[0]); err == nil && l.failure() != nil {
		t.Error("a dead lane takes a seat")
	}
}
