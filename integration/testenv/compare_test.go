package testenv

import (
	"strings"
	"testing"

	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

func id(ms uint64) outbox.EntryID { return outbox.EntryID{MS: ms} }

func TestCompare(t *testing.T) {
	t.Parallel()
	entries := []Entry{
		{Shard: 0, ID: id(1), Event: "a", Key: "k", Payload: 7},
		{Shard: 0, ID: id(2), Event: "b", Key: "k", Payload: 7},
		{Shard: 1, ID: id(1), Event: "c", Key: "k", Payload: 7},
	}
	record := func(shard int, ms uint64, event string, offset int64) Record {
		return Record{
			Shard: shard, Entry: id(ms), Event: event, Key: "k", Payload: 7, Topic: "t",
			Offset: offset,
		}
	}
	tests := map[string]struct {
		records []Record
		want    string // "": exactly once
	}{
		"once": {
			[]Record{record(1, 1, "c", 0), record(0, 1, "a", 1), record(0, 2, "b", 2)},
			"",
		},
		"lost": {[]Record{record(1, 1, "c", 0), record(0, 1, "a", 1)}, "1 lost"},
		"twice": {[]Record{
			record(1, 1, "c", 0), record(0, 1, "a", 1), record(0, 2, "b", 2),
			record(0, 2, "b", 3),
		}, "1 duplicated"},
		"out of order": {
			[]Record{record(1, 1, "c", 0), record(0, 2, "b", 1), record(0, 1, "a", 2)},
			"1 out of order",
		},
		"without entry": {[]Record{
			record(1, 1, "c", 0), record(0, 1, "a", 1), record(0, 2, "b", 2),
			record(0, 3, "d", 3),
		}, "1 orphaned"},
		"another event": {
			[]Record{record(1, 1, "c", 0), record(0, 1, "x", 1), record(0, 2, "b", 2)},
			"1 lost",
		},
		"in other shard": {
			[]Record{record(0, 1, "c", 0), record(0, 1, "a", 1), record(0, 2, "b", 2)},
			"1 orphaned",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := Compare(entries, tt.records).ExactlyOnce()
			if tt.want == "" && err != nil ||
				tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestCheckPositions(t *testing.T) {
	t.Parallel()
	entries := []Entry{{ID: id(1)}, {ID: id(2), More: true}, {ID: id(3)}, {ID: id(4)}}
	at := func(ms, count uint64) relay.Position { return relay.Position{Entry: id(ms), Count: count} }
	tests := map[string]struct {
		history []relay.Position
		want    string // "": nothing is wrong
	}{
		"rising":         {[]relay.Position{at(0, 0), at(1, 1), at(3, 3), at(3, 3), at(4, 4)}, ""},
		"back":           {[]relay.Position{at(3, 3), at(1, 1)}, "went back"},
		"cuts a group":   {[]relay.Position{at(2, 2)}, "cuts a group"},
		"miscounted":     {[]relay.Position{at(1, 1), at(4, 3)}, "4. entry"},
		"no such entry":  {[]relay.Position{at(5, 5)}, "no entry"},
		"missing counts": {[]relay.Position{{Entry: id(4), Count: 3, Missing: 1}}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := CheckPositions(entries, map[int][]relay.Position{0: tt.history})
			if tt.want == "" && err != nil ||
				tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
		})
	}
}
