package options

import (
	"strings"
	"testing"
	"time"
)

type choice int

func TestChoices(t *testing.T) {
	t.Parallel()
	names := []string{"halt", "continue"}
	for i, name := range names {
		if got, err := Parse[choice]("policy", names, name); err != nil || got != choice(i) {
			t.Errorf("%s is %d, %v", name, got, err)
		}
		if got := Name(names, i); got != name {
			t.Errorf("%d is %s", i, got)
		}
	}
	for _, i := range []int{-1, 2} {
		if got := Name(names, i); !strings.HasPrefix(got, "unknown(") {
			t.Errorf("%d is %s", i, got)
		}
	}
	if _, err := Parse[choice]("policy", names, "drop"); err == nil ||
		!strings.Contains(err.Error(), `unknown policy "drop": want one of halt, continue`) {
		t.Errorf("got %v", err)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	zero, set := time.Duration(0), time.Minute
	Default(&zero, time.Second)
	Default(&set, time.Second)
	if zero != time.Second || set != time.Minute {
		t.Errorf("%s, %s", zero, set)
	}
	if a, b := Instance("relay"), Instance("relay"); a == b || a == "" {
		t.Errorf("two instances are %q and %q", a, b)
	}
}
