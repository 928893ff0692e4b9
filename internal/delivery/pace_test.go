package delivery

import (
	"testing"

	"pgregory.net/rapid"
)

func TestPace(t *testing.T) {
	t.Parallel()
	p := newPace(16<<20, 10_000)
	if p.full(9_999, 16<<20-1) || !p.full(10_000, 0) || !p.full(0, 16<<20) {
		t.Errorf("at first: %+v", p)
	}
	// A transaction that had almost no answer: an eighth of it is tried at least.
	p.failed(16<<20, 0)
	if p.limit != 2<<20 || p.maxEntries() != 1250 {
		t.Errorf("after nothing was acknowledged: %d bytes, %d entries", p.limit, p.maxEntries())
	}
	// What was acknowledged is a good guess, up to half.
	p = newPace(16<<20, 10_000)
	p.failed(16<<20, 5<<20)
	if p.limit != 5<<20 {
		t.Errorf("after 5 of 16 MiB: %d", p.limit)
	}
	p = newPace(16<<20, 10_000)
	p.failed(16<<20, 16<<20)
	if p.limit != 8<<20 {
		t.Errorf("after everything was acknowledged, too late: %d", p.limit)
	}
	// Small transactions say nothing of larger ones, slow ones are no reason to send more.
	p.succeeded(1<<20, true)
	p.succeeded(8<<20, false)
	if p.limit != 8<<20 {
		t.Errorf("after small and slow ones: %d", p.limit)
	}
	p.succeeded(4<<20, true)
	if p.limit != 16<<20 || p.maxEntries() != 10_000 {
		t.Errorf("after half a transaction, quick: %d bytes, %d entries", p.limit, p.maxEntries())
	}
}

func TestPaceStaysWithinBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		most, entries := rapid.IntRange(leastPace, 1<<24).Draw(t, "most"),
			rapid.IntRange(1, 20_000).Draw(t, "entries")
		p := newPace(most, entries)
		for range rapid.IntRange(1, 60).Draw(t, "transactions") {
			sent, before := rapid.IntRange(0, 2*most).Draw(t, "sent"), p.limit
			if rapid.Bool().Draw(t, "failed") {
				p.failed(sent, rapid.IntRange(0, sent).Draw(t, "acknowledged"))
				if p.limit > max(leastPace, before/2) {
					t.Fatalf("from %d to %d after a failure", before, p.limit)
				}
			} else {
				p.succeeded(sent, rapid.Bool().Draw(t, "quick"))
				if p.limit < before || p.limit > 2*before {
					t.Fatalf("from %d to %d after a success", before, p.limit)
				}
			}
			if p.limit <= 0 || p.limit > most || p.maxEntries() < 1 || p.maxEntries() > entries {
				t.Fatalf("%d bytes of %d, %d entries of %d", p.limit, most, p.maxEntries(), entries)
			}
		}
		// However slow it was, it recovers in a few steps.
		for range 20 {
			p.succeeded(p.limit, true)
		}
		if p.limit != most || p.maxEntries() != entries {
			t.Fatalf("has not recovered: %+v", p)
		}
	})
}
