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
		"":                       false, ".": false, "..": false,
		"a b": false, "a/b": false, "é": false, "a\n": false,
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
