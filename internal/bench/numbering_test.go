package bench

import (
	"testing"

	"github.com/sluice-outbox/sluice/outbox"
)

func TestNumbersOfSomeShards(t *testing.T) {
	const shards = 64
	well := func(shard int) bool { return shard < 61 }
	source := newEvents(200)
	m := source.numbersOf(shards, well).forWriters()
	if len(m.keys)%writers != 0 {
		t.Errorf("%d keys and %d writers", len(m.keys), writers)
	}
	last, seen := -1, map[int]bool{}
	for i := range 5 * keys {
		n := m.number(i)
		if n <= last || m.index(n) != i {
			t.Fatalf("index %d has number %d after %d, whose index is %d", i, n, last, m.index(n))
		}
		last = n
		shard := outbox.Shard(source.key(n), shards)
		if !well(shard) {
			t.Fatalf("number %d is of shard %d", n, shard)
		}
		seen[shard] = true
	}
	if len(seen) != 61 {
		t.Errorf("%d shards have events, want 61", len(seen))
	}
	strangers := 0
	for n := range keys {
		if i := m.index(n); i == -1 {
			strangers++
		}
	}
	if want := keys - len(m.keys); strangers != want || m.index(-1) != -1 {
		t.Errorf("%d numbers have no index, want %d; -1 has %d", strangers, want, m.index(-1))
	}
}

func TestNumbersOfAll(t *testing.T) {
	for _, n := range []int{-1, 0, 1, 7_000} {
		if (numbering{}).index(n) != n || n >= 0 && (numbering{}).number(n) != n {
			t.Errorf("%d has index %d", n, numbering{}.index(n))
		}
	}
}

// Each shard of any number has keys, or a bench that needs an event of it has none.
func TestEachShardHasKeys(t *testing.T) {
	source := newEvents(200)
	for shards := 1; shards <= 64; shards++ {
		for shard := range shards {
			if m := source.numbersOf(shards, func(s int) bool { return s == shard }); len(m.keys) == 0 {
				t.Errorf("shard %d of %d has no key", shard, shards)
			}
		}
	}
}

// As many events as are awaited before the rest is written reach every shard, and one fewer does
// not.
func TestUntilAll(t *testing.T) {
	source := newEvents(200)
	for _, shards := range []int{1, 4, 64} {
		n := source.untilAll(numbering{}, shards, allShards)
		seen := map[int]bool{}
		for i := range n {
			if i == n-1 && len(seen) != shards-1 {
				t.Errorf("%d shards: %d events are more than enough", shards, n)
			}
			seen[outbox.Shard(source.key(i), shards)] = true
		}
		if len(seen) != shards {
			t.Errorf("%d events reach %d of %d shards", n, len(seen), shards)
		}
	}
}
