package outbox

import (
	"context"
	"strings"
	"testing"
)

const sampleTraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestValidTraceParent(t *testing.T) {
	for s, want := range map[string]bool{
		sampleTraceParent:            true,
		"cc" + sampleTraceParent[2:]: true,
		"cc" + sampleTraceParent[2:] + "-what-the-future-will-be-like": true,
		"":                                              false,
		sampleTraceParent + "-x":                        false, // version 00 ends with the flags
		"cc" + sampleTraceParent[2:] + "x":              false,
		"cc" + sampleTraceParent[2:] + "-\n":            false,
		"ff" + sampleTraceParent[2:]:                    false,
		strings.ToUpper(sampleTraceParent):              false,
		strings.Replace(sampleTraceParent, "-", "_", 1): false,
		"00-00000000000000000000000000000000-b7ad6b7169203331-01": false,
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01": false,
		sampleTraceParent[:54]: false,
	} {
		if got := validTraceParent(s); got != want {
			t.Errorf("validTraceParent(%q) = %t", s, got)
		}
	}
}

func FuzzValidTraceParent(f *testing.F) {
	f.Add(sampleTraceParent)
	f.Add("cc" + sampleTraceParent[2:] + "-more")
	f.Fuzz(func(t *testing.T, s string) {
		if validTraceParent(s) && (!printable(s) || len(s) < 55) {
			t.Fatalf("accepts %q", s)
		}
	})
}

func TestTraceOf(t *testing.T) {
	background := context.Background()
	hook := func(context.Context) (string, string) { return sampleTraceParent, "hook=1" }
	for name, c := range map[string]struct {
		ctx  context.Context
		hook func(context.Context) (string, string)
		want trace
	}{
		"nothing": {background, nil, trace{}},
		"hook":    {background, hook, trace{sampleTraceParent, "hook=1"}},
		"context": {
			WithTraceParent(background, sampleTraceParent, ""), nil,
			trace{parent: sampleTraceParent},
		},
		"context first": {
			WithTraceParent(background, sampleTraceParent, "ctx=1"), hook,
			trace{sampleTraceParent, "ctx=1"},
		},
		"switched off":   {WithTraceParent(background, "", ""), hook, trace{}},
		"invalid parent": {WithTraceParent(background, "nonsense", "a=1"), nil, trace{}},
		"invalid state": {
			WithTraceParent(background, sampleTraceParent, "a=\x00"), nil,
			trace{parent: sampleTraceParent},
		},
		"too long a state": {
			WithTraceParent(background, sampleTraceParent, strings.Repeat("a", 513)),
			nil,
			trace{parent: sampleTraceParent},
		},
	} {
		if got := traceOf(c.ctx, c.hook); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
