package bench

import (
	"encoding/json"
	"testing"
)

func TestEventsHaveTheirNumberAndSize(t *testing.T) {
	for _, size := range []int{minPayload, minPayload + 1, 200, 5_000, maxPayload} {
		source := newEvents(size)
		for _, n := range []int{0, 1, 999, 123_456_789, maxEntries - 1} {
			e := source.event(n)
			if len(e.Payload) != size {
				t.Errorf("payload of %d bytes, want %d", len(e.Payload), size)
			}
			if got := number(e.Payload); got != n {
				t.Errorf("number %d, want %d", got, n)
			}
			if e.AggregateID != source.key(n) {
				t.Errorf("key %q of event %d", e.AggregateID, n)
			}
		}
	}
}

func TestEventPayloadIsJSON(t *testing.T) {
	// The nine digits have leading zeros, which JSON does not allow: what follows the number is looked
	// at.
	p := newEvents(200).event(123_456_789).Payload
	if !json.Valid(p) {
		t.Errorf("%s", p)
	}
}

func TestNumberOfForeignPayloads(t *testing.T) {
	for _, p := range []string{"", "warm", `{"n":12`, `{"n":12345678x,"":""}`, `{"m":123456789}`} {
		if n := number([]byte(p)); n != -1 {
			t.Errorf("%q has number %d", p, n)
		}
	}
}

// writers divides keys, or two writers would write one key's events at the same time.
func TestEachKeyHasOneWriter(t *testing.T) {
	if keys%writers != 0 {
		t.Errorf("%d keys and %d writers", keys, writers)
	}
}
