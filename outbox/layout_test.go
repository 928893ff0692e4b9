package outbox

import "testing"

func TestParseLayout(t *testing.T) {
	for _, c := range []struct {
		version, format, shards, created string
		ok                               bool
	}{
		{"2", "1", "4", "1700000000000", true},
		{"1", "1", "1", "", true},
		{"7", "9", "65536", "", true}, // readable; whether it is known is the caller's question
		{"", "1", "4", "", false},
		{"2", "", "4", "", false},
		{"2", "1", "", "", false},
		{"0", "1", "4", "", false},
		{"2", "1", "0", "", false},
		{"2", "1", "-4", "", false},
		{"2", "1", "65537", "", false},
		{"2", "1", "4x", "", false},
		{"2", "1", "4", "yesterday", false},
	} {
		if _, err := parseLayout(c.version, c.format, c.shards, c.created); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func FuzzParseLayout(f *testing.F) {
	f.Add("2", "1", "4", "1700000000000")
	f.Add("", "-1", "99999999999999999999", "x")
	f.Fuzz(func(t *testing.T, version, format, shards, created string) {
		l, err := parseLayout(version, format, shards, created)
		if err == nil && (l.Version < 1 || l.Format < 1 || l.Shards < 1 || l.Shards > maxShards) {
			t.Fatalf("accepts %+v", l)
		}
	})
}

func FuzzDecodeMarker(f *testing.F) {
	f.Add("a\nb")
	f.Fuzz(func(t *testing.T, value string) {
		if ids := decodeMarker(value); len(value) <= maxMarker && encodeMarker(ids) != value {
			t.Fatalf("%q decodes to %q, which encodes to %q", value, ids, encodeMarker(ids))
		}
	})
}
