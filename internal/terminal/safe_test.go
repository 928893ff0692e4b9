package terminal

import (
	"encoding/json"
	"strings"
	"testing"
)

// hostile is every character that a terminal may act on: C0 and C1, marks of direction, characters
// without width, and what separates lines.
func hostile() []rune {
	var all []rune
	for r := rune(0); r < 0x20; r++ {
		all = append(all, r)
	}
	for r := rune(0x7f); r < 0xa0; r++ {
		all = append(all, r)
	}
	for r := rune(0x200b); r <= 0x200f; r++ {
		all = append(all, r)
	}
	for r := rune(0x2028); r <= 0x202e; r++ {
		all = append(all, r)
	}
	for r := rune(0x2060); r <= 0x206f; r++ {
		all = append(all, r)
	}
	return append(all, 0xad, 0x061c, 0x180e, 0xfeff, 0xfff9, 0xe0001, 0xe0041)
}

func TestHostileCharacters(t *testing.T) {
	t.Parallel()
	for _, r := range hostile() {
		s := "a" + string(r) + "b"
		if got := Word(s); strings.ContainsRune(got, r) || got == "ab" {
			t.Errorf("%U as a word: %q", r, got)
		}
		if got := Text(s); strings.ContainsRune(got, r) != (r == '\n' || r == '\t') {
			t.Errorf("%U as text: %q", r, got)
		}
		encoded, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		got := JSON(string(encoded))
		if strings.ContainsRune(got, r) {
			t.Errorf("%U in JSON: %q", r, got)
		}
		var back string
		if err := json.Unmarshal([]byte(got), &back); err != nil || back != s {
			t.Errorf("%U in JSON comes back as %q, %v", r, back, err)
		}
	}
}

func TestSafeText(t *testing.T) {
	t.Parallel()
	paint := Painter{Color: true}
	for in, want := range map[string]string{
		"größe 10 µs – ok":         "größe 10 µs – ok",
		"a\nb\tc":                  "a\nb\tc",
		paint.Paint(Red, "halted"): "\x1b[31mhalted\x1b[0m",
		"\x1b]0;title\a":           `\x1b]0;title\a`,
		"\x1b[2J":                  `\x1b[2J`,
		"\x1b[8mhidden":            `\x1b[8mhidden`,
		"\x1b":                     `\x1b`,
		"\xff\xfe":                 `\xff\xfe`,
	} {
		if got := Text(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	if got := Word("a\nb"); got != `a\nb` {
		t.Errorf("a line break in a word: %q", got)
	}
}
