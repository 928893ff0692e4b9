package names

import (
	"strings"
	"testing"
)

func TestValidateTopic(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"orders": true, "a": true, "outbox.event.Order_Line-2": true, "...": true,
		strings.Repeat("x", 249): true,
		"":                       false, ".": false, "..": false, "a b": false, "a/b": false, "é": false,
		"a\n":                    false,
		strings.Repeat("x", 250): false,
	} {
		if err := ValidateTopic(name); (err == nil) != want {
			t.Errorf("%.20q: %v", name, err)
		}
	}
	if err := ValidateTopic(strings.Repeat("é", 1000)); len(err.Error()) > 400 {
		t.Errorf("the message has %d bytes", len(err.Error()))
	}
}

func TestReservedTopics(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"orders": true, "sluice": true, "sluices.x": true, "_x": true, "my.sluice.x": true,
		"sluice.pay.positions": false, "sluice.pay.audits": false, "sluice.pay.dlq": false,
		"sluice.": false, "__consumer_offsets": false, "__x": false, "a b": false,
	} {
		if err := ValidateEventTopic(name); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, want := range map[string]bool{
		"orders.dead": true, "sluice.pay.dlq": true,
		"sluice.other.dlq": false, "sluice.pay.positions": false, "sluice.other.audits": false,
	} {
		if err := ValidateDeadLetterTopic("pay", name); (err == nil) != want {
			t.Errorf("dead letters of pay in %s: %v", name, err)
		}
	}
}
