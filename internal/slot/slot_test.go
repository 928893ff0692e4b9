package slot

import (
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"
)

// TestOf has the check value of CRC-16/XMODEM and examples of the Redis Cluster specification.
func TestOf(t *testing.T) {
	if got := crc16("123456789"); got != 0x31C3 {
		t.Errorf("crc16 = %#x, want 0x31c3", got)
	}
	for key, same := range map[string]string{
		"{user1000}.following": "user1000",
		"foo{}{bar}":           "foo{}{bar}", // an empty tag is no tag
		"foo{{bar}}zap":        "{bar",
		"foo{bar}{zap}":        "bar",
		"foo}{bar":             "foo}{bar",
	} {
		want := int(crc16(same)) % Count
		if got := Of(key); got != want {
			t.Errorf("slot of %q is %d, want that of %q, %d", key, got, same, want)
		}
	}
	if Of("foo") != 12182 || Of("somekey") != 11058 {
		t.Error("slots differ from CLUSTER KEYSLOT")
	}
}

func TestCommandKeys(t *testing.T) {
	table := map[string]*redis.CommandInfo{
		"set":   {FirstKeyPos: 1, LastKeyPos: 1, StepCount: 1},
		"mset":  {FirstKeyPos: 1, LastKeyPos: -1, StepCount: 2},
		"del":   {FirstKeyPos: 1, LastKeyPos: -1, StepCount: 1},
		"ping":  {},
		"bitop": {FirstKeyPos: 2, LastKeyPos: -1, StepCount: 1},
	}
	for _, c := range []struct {
		args []any
		want []string
	}{
		{[]any{"set", "k", "v"}, []string{"k"}},
		{[]any{"SET", []byte("k"), "v"}, []string{"k"}},
		{[]any{"mset", "a", 1, "b", 2}, []string{"a", "b"}},
		{[]any{"del", "a", "b"}, []string{"a", "b"}},
		{[]any{"bitop", "and", "d", "s"}, []string{"d", "s"}},
		{[]any{"ping", "x"}, nil},
		{[]any{"multi"}, nil},
		{[]any{"newcommand", "k", "v"}, []string{"k"}},
		{[]any{"eval", "return 1", 2, "a", "b", "arg"}, []string{"a", "b"}},
		{[]any{"fcall", "f", "0", "arg"}, nil},
		{[]any{"evalsha", "sha", "x", "k"}, nil},
		{[]any{"eval", "return 1", 9, "a"}, []string{"a"}},
		{[]any{"zunionstore", "d", 2, "a", "b", "weights", 1, 2}, []string{"a", "b", "d"}},
		{[]any{"lmpop", 1, "a", "left"}, []string{"a"}},
		{[]any{"xread", "count", 1, "STREAMS", "a", "b", "0", "0"}, []string{"a", "b"}},
		{[]any{"xread", "count", 1}, nil},
		{[]any{"sort", "a", "by", "w", "store", "d"}, []string{"d", "a"}},
	} {
		info := table[Text(c.args[0])]
		if c.args[0] == "SET" {
			info = table["set"]
		}
		if got := Keys(c.args, info); !slices.Equal(got, c.want) {
			t.Errorf("%v: keys %q, want %q", c.args, got, c.want)
		}
	}
}

func TestOfKeyslot(t *testing.T) {
	for key, want := range map[string]int{ // redis-cli cluster keyslot
		"foo": 12182, "{foo}": 12182, "a{foo}b": 12182, "{}": 15257, "123456789": 12739, "": 0,
	} {
		if got := Of(key); got != want {
			t.Errorf("%q: %d, want %d", key, got, want)
		}
	}
}
