package integration

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// step notes something in a ledger.
type step func(*Ledger)

func wrote(id, key string, seq int) step { return func(l *Ledger) { l.Wrote(id, key, seq) } }
func unsure(id, key string, seq int) step {
	return func(l *Ledger) { l.MayHaveWritten(id, key, seq) }
}

func got(id, key string, partition int32, offset int64) step {
	return func(l *Ledger) {
		l.Delivered(Delivery{ID: id, Key: key, Topic: "t", Partition: partition, Offset: offset})
	}
}

func TestLedgerVerify(t *testing.T) {
	t.Parallel()
	three := []step{wrote("a1", "a", 1), wrote("a2", "a", 2), wrote("b1", "b", 1)}
	tests := map[string]struct {
		steps       []step
		want        Report
		exactlyOnce bool
		atLeastOnce bool
	}{
		"nothing": {nil, Report{}, true, true},
		"all once, keys mixed, noted in any order": {
			append([]step{got("a2", "a", 0, 9), got("a1", "a", 0, 3), got("b1", "b", 1, 0)}, three...),
			Report{Written: 3, Delivered: 3},
			true, true,
		},
		"lost": {
			append([]step{got("a1", "a", 0, 0), got("b1", "b", 0, 1)}, three...),
			Report{Written: 3, Delivered: 2, Lost: 1},
			false, false,
		},
		"delivered again later": {
			append([]step{
				got("a1", "a", 0, 0), got("a2", "a", 0, 1), got("b1", "b", 0, 2),
				got("a1", "a", 0, 3),
			}, three...),
			Report{Written: 3, Delivered: 4, Duplicated: 1},
			false, true,
		},
		"delivered again in another topic": {
			append([]step{
				got("a1", "a", 0, 0), got("a2", "a", 0, 1), got("b1", "b", 0, 2),
				func(l *Ledger) { l.Delivered(Delivery{ID: "a1", Key: "a", Topic: "u"}) },
			}, three...),
			Report{Written: 3, Delivered: 4, Duplicated: 1},
			false, true,
		},
		"out of order": {
			append([]step{got("a2", "a", 0, 0), got("a1", "a", 0, 1), got("b1", "b", 0, 2)}, three...),
			Report{Written: 3, Delivered: 3, OutOfOrder: 1},
			false, false,
		},
		"one key in two partitions": {
			append([]step{got("a1", "a", 0, 0), got("a2", "a", 1, 0), got("b1", "b", 0, 2)}, three...),
			Report{Written: 3, Delivered: 3, OutOfOrder: 1},
			false, false,
		},
		"orphaned": {
			append([]step{
				got("a1", "a", 0, 0), got("a2", "a", 0, 1), got("b1", "b", 0, 2),
				got("x", "a", 0, 3),
			}, three...),
			Report{Written: 3, Delivered: 4, Orphaned: 1},
			false, false,
		},
		"under another key": {
			append([]step{got("a1", "a", 0, 0), got("a2", "a", 0, 1), got("b1", "c", 0, 2)}, three...),
			Report{Written: 3, Delivered: 3, Altered: 1},
			false, false,
		},
		"unknown outcome, one there and one not": {
			[]step{
				unsure("a1", "a", 1), unsure("a2", "a", 2), wrote("a3", "a", 3), got("a2", "a", 0, 0),
				got("a3", "a", 0, 1),
			},
			Report{Written: 1, Unsure: 2, Delivered: 2},
			true, true,
		},
		"unknown outcome, there twice": {
			[]step{unsure("a1", "a", 1), got("a1", "a", 0, 0), got("a1", "a", 0, 1)},
			Report{Unsure: 1, Delivered: 2, Duplicated: 1},
			false, true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := NewLedger()
			for _, s := range tt.steps {
				s(l)
			}
			r := l.Verify()
			if r.String() != tt.want.String() {
				t.Errorf("got  %v\nwant %v", r, tt.want)
			}
			if wrong := r.Lost + r.Duplicated + r.OutOfOrder + r.Orphaned +
				r.Altered; wrong != len(r.Findings) {
				t.Errorf("%d findings for %d errors", len(r.Findings), wrong)
			}
			if err := r.ExactlyOnce(); (err == nil) != tt.exactlyOnce {
				t.Errorf("exactly once: %v", err)
			}
			if err := r.AtLeastOnce(); (err == nil) != tt.atLeastOnce {
				t.Errorf("at least once: %v", err)
			}
		})
	}
}

func TestLedgerFindsOneLossAmongMany(t *testing.T) {
	t.Parallel()
	const events = 200_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	l := NewLedger()
	lost := rand.IntN(events)
	for i := range events {
		key, id := fmt.Sprint(i%1000), fmt.Sprintf("event-%d", i)
		l.Wrote(id, key, i)
		if i != lost {
			l.Delivered(Delivery{
				ID: id, Key: key, Topic: "t", Partition: int32(i % 1000 % 4),
				Offset: int64(i),
			})
		}
	}
	r := l.Verify()
	if r.Lost != 1 || r.Delivered != events-1 || len(r.Findings) != 1 {
		t.Fatal(r)
	}
	err := r.ExactlyOnce()
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("lost: event event-%d,", lost)) {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("%d MiB live", (after.HeapAlloc-before.HeapAlloc)>>20)
	runtime.KeepAlive(l)
}

func TestLedgerTakesRecords(t *testing.T) {
	t.Parallel()
	l := NewLedger()
	l.Wrote("1", "k", 1)
	for _, r := range []*kgo.Record{
		{
			Topic: "t", Key: []byte("k"),
			Headers: []kgo.RecordHeader{{Key: "type", Value: []byte("x")}, {Key: "id", Value: []byte("1")}},
		},
		{Topic: "t", Key: []byte("k"), Offset: 1},
	} {
		if err := l.DeliveredRecord(r); err != nil {
			t.Fatal(err)
		}
	}
	if r := l.Verify(); r.Orphaned != 1 || r.Lost != 0 {
		t.Fatal(r)
	}
}
