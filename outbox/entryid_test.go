package outbox

import (
	"cmp"
	"math"
	"testing"

	"pgregory.net/rapid"
)

var drawID = rapid.Custom(func(t *rapid.T) EntryID {
	number := rapid.OneOf(rapid.Uint64Range(0, 3), rapid.Uint64(), rapid.Just(uint64(math.MaxUint64)))
	return EntryID{number.Draw(t, "ms"), number.Draw(t, "seq")}
})

func TestEntryIDOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawID.Draw(t, "a"), drawID.Draw(t, "b")
		want := cmp.Compare(a.MS, b.MS)
		if want == 0 {
			want = cmp.Compare(a.Seq, b.Seq)
		}
		if got := a.Compare(b); got != want {
			t.Fatalf("%s against %s: got %d, want %d", a, b, got, want)
		}
		if got, err := ParseEntryID(a.String()); err != nil || got != a {
			t.Fatalf("%s: got %s, %v", a, got, err)
		}
		if a.IsZero() != (a.Compare(EntryID{}) == 0) {
			t.Fatalf("%s: IsZero is %v", a, a.IsZero())
		}
	})
}

// Prev is the neighbour: below, with nothing between.
func TestEntryIDPrev(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		id, other := drawID.Draw(t, "id"), drawID.Draw(t, "other")
		prev := id.Prev()
		if id.IsZero() {
			if !prev.IsZero() {
				t.Fatalf("before 0-0 is %s", prev)
			}
			return
		}
		if prev.Compare(id) >= 0 {
			t.Fatalf("%s is not below %s", prev, id)
		}
		if other.Compare(prev) > 0 && other.Compare(id) < 0 {
			t.Fatalf("%s is between %s and %s", other, prev, id)
		}
	})
	if got := (EntryID{5, 0}).Prev(); got != (EntryID{4, math.MaxUint64}) {
		t.Errorf("before 5-0 is %s", got)
	}
}

func TestParseEntryID(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]EntryID{
		"0-0": {}, "5-7": {5, 7}, "1700000000000-0": {1700000000000, 0},
		"18446744073709551615-18446744073709551615": {math.MaxUint64, math.MaxUint64},
		"5": {5, 0}, "0": {}, // as Redis takes them
	} {
		if got, err := ParseEntryID(text); err != nil || got != want {
			t.Errorf("%q: got %s, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "-", "5-", "-7", "5-7-9", "5 -7", "+5-7", "a-1", "1-a", "*", "$",
		"(5-7", "18446744073709551616-0", "0x5-1",
	} {
		if got, err := ParseEntryID(text); err == nil {
			t.Errorf("%q: got %s, want an error", text, got)
		}
	}
}
