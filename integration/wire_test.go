package integration

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// scanAll feeds the stream in pieces of the given sizes, the last of which repeats, and returns the
// names and ends of the messages found.
func scanAll(s scanner, stream []byte, sizes []int) (names []string, ends []int) {
	at := 0
	for i := 0; at < len(stream); i++ {
		piece := stream[at:min(len(stream), at+sizes[min(i, len(sizes)-1)])]
		for len(piece) > 0 {
			n, name, complete := s.next(piece)
			at += n
			piece = piece[n:]
			if complete {
				names, ends = append(names, name), append(ends, at)
			}
		}
	}
	return names, ends
}

func TestRESPScanner(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		messages []string // each of them one message, pushes before the message they precede
		names    []string
	}{
		"commands": {
			[]string{
				"*1\r\n$5\r\nMULTI\r\n", "*3\r\n$3\r\nset\r\n$1\r\nk\r\n$4\r\na\r\nb\r\n",
				"*1\r\n$4\r\nEXEC\r\n",
			},
			[]string{"MULTI", "SET", "EXEC"},
		},
		"simple replies": {[]string{
			"+OK\r\n", "-ERR no\r\n", ":7\r\n", "_\r\n", "#t\r\n", ",1.5\r\n",
			"(123\r\n",
		}, nil},
		"bulk replies": {
			[]string{"$-1\r\n", "$0\r\n\r\n", "$3\r\n\r\n\n\r\n", "=7\r\ntxt:abc\r\n"},
			nil,
		},
		"nested replies": {[]string{
			"*2\r\n*2\r\n:1\r\n$1\r\nx\r\n*-1\r\n", "*0\r\n",
			"%1\r\n+k\r\n~2\r\n:1\r\n:2\r\n", "*-1\r\n",
		}, nil},
		"push is no reply": {[]string{">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n+OK\r\n", ":1\r\n"}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stream := []byte(strings.Join(tt.messages, ""))
			var want []int
			for i, at := 0, 0; i < len(tt.messages); i++ {
				at += len(tt.messages[i])
				want = append(want, at)
			}
			for _, size := range []int{1, 2, 3, 7, len(stream)} {
				names, ends := scanAll(&respScanner{}, stream, []int{size})
				if !slices.Equal(ends, want) {
					t.Fatalf("pieces of %d: messages end at %v, want %v", size, ends, want)
				}
				if tt.names != nil && !slices.Equal(names, tt.names) {
					t.Fatalf("pieces of %d: names %q, want %q", size, names, tt.names)
				}
			}
		})
	}
}

func TestKafkaScanner(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		var wantNames []string
		var wantEnds []int
		keys := map[uint16]string{0: "Produce", 3: "Metadata", 26: "EndTxn"}
		for range rapid.IntRange(1, 5).Draw(t, "messages") {
			key := rapid.SampledFrom([]uint16{0, 3, 26}).Draw(t, "key")
			body := rapid.SliceOfN(rapid.Byte(), 6, 50).Draw(t, "body")
			stream = binary.BigEndian.AppendUint32(stream, uint32(2+len(body)))
			stream = binary.BigEndian.AppendUint16(stream, key)
			stream = append(stream, body...)
			wantNames, wantEnds = append(wantNames, keys[key]), append(wantEnds, len(stream))
		}
		sizes := rapid.SliceOfN(rapid.IntRange(1, 40), 1, 20).Draw(t, "sizes")
		names, ends := scanAll(&kafkaScanner{}, stream, sizes)
		if !slices.Equal(names, wantNames) || !slices.Equal(ends, wantEnds) {
			t.Fatalf("got %v at %v, want %v at %v", names, ends, wantNames, wantEnds)
		}
	})
}
