package migrations

import "testing"

func TestParseRedisVersion(t *testing.T) {
	for text, want := range map[string]struct{ known, old bool }{
		"7.0.15":    {true, false},
		"6.2.14":    {true, true},
		"5.0.7":     {true, true},
		"10.1.0":    {true, false},
		"255.0.255": {true, false}, // what development builds report
		"":          {false, false},
		"unstable":  {false, false},
	} {
		if v := parseRedisVersion(text); v.known() != want.known || v.old() != want.old {
			t.Errorf("%q: known %v, old %v", text, v.known(), v.old())
		}
	}
}

func TestHelloVersion(t *testing.T) {
	for name, c := range map[string]struct {
		reply any
		want  string
	}{
		"RESP3": {
			map[any]any{"server": "redis", "version": "7.0.15", "proto": int64(3)},
			"7.0.15",
		},
		"RESP2":         {[]any{"server", "valkey", "version", "9.1.2", "proto", int64(2)}, "9.1.2"},
		"odd list":      {[]any{"server", "redis", "version"}, ""},
		"not a text":    {map[any]any{"version": int64(7)}, ""},
		"something new": {"7.0.15", ""},
		"nothing":       {nil, ""},
	} {
		if got := helloVersion(c.reply); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestInfoVersion(t *testing.T) {
	if got := infoVersion(
		"# Server\r\nredis_version:6.0.16\r\nredis_git_sha1:0\r\n"); got != "6.0.16" {
		t.Errorf("%q", got)
	}
	if got := infoVersion("# Server\r\n"); got != "" {
		t.Errorf("%q", got)
	}
}

// miniredis answers neither HELLO without an argument nor INFO server: the plan says that the
// version was not checked, and goes on.
func TestUntoldVersionIsNoted(t *testing.T) {
	plan, err := inMemory(t).migrator(t, orders).Plan(testContext(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Notes) != 1 || len(plan.Refused) != 0 {
		t.Errorf("%s", asJSON(t, plan))
	}
}
