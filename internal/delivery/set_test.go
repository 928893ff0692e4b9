package delivery

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Set fences the owner, who begins anew from what was set.
func TestSet(t *testing.T) {
	t.Parallel()
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.topic("events", 1)
		f := newFlow(0)
		f.add(20, place{"events", 0})
		e, end := l.engine()
		defer end()
		l.run(e, f)
		l.delivered(f)
		other, endOther := l.engine()
		defer endOther()
		set := l.set(other, 0, func(n int) int { return n - 5 })
		if set != 20 {
			t.Errorf("the position was %d", set)
		}
		if g := l.ledger(other, 0); len(g.live) != 0 && g.live[0].lane == f.inLanes()[0] {
			t.Errorf("live claims after it was set: %v", g.live)
		}
		f.add(1, place{"events", 0}) // an idle owner learns it with its next transaction
		l.until("it is delivered", func() bool { return l.number(other, 0) == 21 })
		synctest.Wait()
		counts := map[string]int{}
		for _, r := range l.all("events") {
			counts[string(r.Key)]++
		}
		for n, want := range map[string]int{"0/15": 1, "0/16": 2, "0/20": 2, "0/21": 1} {
			if counts[n] != want {
				t.Errorf("entry %s is there %d times, want %d", n, counts[n], want)
			}
		}
	})
}

func TestSetEndsWithChangesError(t *testing.T) {
	t.Parallel()
	inLab(t, 2, func(t *testing.T, l *lab) {
		e, end := l.engine()
		defer end()
		if n := l.set(e, 1, func(int) int { return 7 }); n != 0 || l.number(e, 1) != 7 {
			t.Errorf("of a shard without a position: %d, then %d", n, l.number(e, 1))
		}
		failed := errors.New("no")
		if err := e.Set(t.Context(), []int{1}, func(int, []byte) ([]byte, error) {
			return nil, failed
		}); !errors.Is(err, failed) {
			t.Errorf("got %v", err)
		}
		if g := l.ledger(e, 1); l.number(e, 1) != 7 || len(g.live) != 0 {
			t.Errorf("the position is %d, live claims %v", l.number(e, 1), g.live)
		}
	})
}

// The positions of many shards are set in transactions that they share.
func TestSetMany(t *testing.T) {
	t.Parallel()
	inLab(t, 40, func(t *testing.T, l *lab) {
		e, end := l.engine()
		defer end()
		commits := l.seen(kmsg.EndTxn, func(kmsg.Request) string { return "end" })
		var shards []int
		for shard := range 40 {
			shards = append(shards, shard)
		}
		err := e.Set(t.Context(), shards, func(shard int, record []byte) ([]byte, error) {
			if record != nil {
				return nil, fmt.Errorf("shard %d has %s", shard, record)
			}
			return json.Marshal(numbered{shard + 1})
		})
		if err != nil {
			t.Fatal(err)
		}
		for shard := range 40 {
			if n := l.number(e, shard); n != shard+1 {
				t.Errorf("shard %d is at %d", shard, n)
			}
			if g := l.ledger(e, shard); len(g.live) != 0 {
				t.Errorf("live claims of shard %d: %v", shard, g.live)
			}
		}
		if n := len(commits()); n >= 3*40 {
			t.Errorf("%d transactions, none is shared", n)
		}
	})
}
