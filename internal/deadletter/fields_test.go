package deadletter

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// resp is the value of a dead-letter record for names and values in turn.
func resp(words ...string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	return []byte(b.String())
}

func TestDecodeFields(t *testing.T) {
	got, err := decodeFields(resp("id", "1", "payload", "\r\n$5\x00", "headers", ""))
	want := []Field{{"id", []byte("1")}, {"payload", []byte("\r\n$5\x00")}, {"headers", []byte{}}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if got, err := decodeFields(resp("alone")); err != nil || len(got) != 1 || got[0].Value != nil {
		t.Errorf("a name without a value: got %v, %v", got, err)
	}
	for _, bad := range []string{
		"", "*1", "*1\r\n", "*1\r\n$5\r\nab\r\n", "$1\r\na\r\n", "*-1\r\n",
		"*x\r\n", "*1\r\n$-1\r\n", "*0\r\nrest", "*99999999999999999999\r\n",
	} {
		if _, err := decodeFields([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func FuzzDecodeFields(f *testing.F) {
	f.Add(resp("id", "1", "payload", ""))
	f.Add([]byte("*2\r\n$1\r\na\r\n$1000000000\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		fields, err := decodeFields(b)
		if err != nil {
			return
		}
		var words []string
		for i, field := range fields {
			words = append(words, field.Name)
			if field.Value != nil || i < len(fields)-1 {
				words = append(words, string(field.Value))
			}
		}
		again, err := decodeFields(resp(words...))
		if err != nil || len(again) != len(fields) ||
			len(fields) > 0 && !bytes.Equal(again[0].Value, fields[0].Value) {
			t.Errorf("%q became %v, then %v (%v)", b, fields, again, err)
		}
	})
}
