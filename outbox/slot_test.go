package outbox

import (
	"testing"

	"github.com/sluice-outbox/sluice/internal/slot"
)

// What a transaction changes together is in one slot.
func TestKeysOfAShardShareASlot(t *testing.T) {
	if slot.Of(StateKey("orders", 3, "a{b}")) != slot.Of(StreamKey("orders", 3)) ||
		slot.Of(MarkerKey("orders", 3, "{x}")) != slot.Of(StreamKey("orders", 3)) {
		t.Error("state key, marker and stream are not in one slot")
	}
}
