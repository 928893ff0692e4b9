package main

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	t.Run("events run in the order of their times, then of their making", func(t *testing.T) {
		type ran struct {
			at time.Duration
			n  int
		}
		var c clock
		var got []ran
		rng := rand.New(rand.NewPCG(1, 1))
		for n := range 500 {
			c.after(time.Duration(rng.IntN(20)), func() { got = append(got, ran{c.now, n}) })
		}
		c.run(19)
		if len(got) != 500 || !slices.IsSortedFunc(got, func(a, b ran) int {
			if a.at != b.at {
				return int(a.at - b.at)
			}
			return a.n - b.n
		}) {
			t.Fatalf("%d events, in the order %v", len(got), got)
		}
	})
	t.Run("what is due later waits", func(t *testing.T) {
		var c clock
		ran := false
		c.after(2, func() { ran = true })
		if c.run(1); ran || c.now != 1 {
			t.Fatal("it ran early, or the clock did not move")
		}
		if c.run(2); !ran {
			t.Fatal("it did not run")
		}
	})
}
