package consistency

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/outbox"
)

// plainWorld has one shard and one partition, and n entries that were delivered.
func plainWorld(n int) (*memoryStreams, *memoryLogs, *auditor) {
	streams := &memoryStreams{shards: make([]memoryStream, 1)}
	logs := &memoryLogs{byName: map[string][]*memoryPartition{}, positions: map[int]EntryID{}}
	logs.make("t.a", 1)
	logs.make("dlq", 1)
	grow(streams, logs, 0, n, true)
	return streams, logs, newAuditor(streams, logs)
}

func grow(streams *memoryStreams, logs *memoryLogs, from, to int, deliver bool) {
	for i := from; i < to; i++ {
		id := EntryID{MS: uint64(1000 + i)}
		streams.shards[0].add(id, entryFields(fmt.Sprint("e", i), "a", fmt.Sprint("k", i), "created",
			"p")...)
		if deliver {
			logs.append("t.a", 0, rawRecord(0, id, fmt.Sprint("e", i), "created", fmt.Sprint("k", i), "p"))
		}
	}
}

// TestLateIsNotLost: a record that comes between the two looks makes its entry late; the next run
// does not take it for a second one.
func TestLateIsNotLost(t *testing.T) {
	t.Parallel()
	streams, logs, a := plainWorld(10)
	grow(streams, logs, 10, 11, false)
	logs.positions[0] = EntryID{MS: 1010}
	looks := 0
	late := &lateLogs{memoryLogs: logs, before: func() {
		if looks++; looks == 2 {
			logs.append("t.a", 0, rawRecord(0, EntryID{MS: 1010}, "e10", "created", "k10", "p"))
		}
	}}
	a.other = late
	if r := mustRun(t, a); r.Verdict != Agree || r.Counts[Late] != 1 || len(r.Findings) != 1 {
		t.Fatalf("%s: %v %v", r.Verdict, r.Findings, r.Incomplete)
	}
	if r := mustRun(t, a); r.Verdict != Agree || len(r.Findings) != 0 {
		t.Fatalf("%s: %v %v", r.Verdict, r.Findings, r.Incomplete)
	}
}

// TestUndeliveredIsLate once it has come: the run that finds it undelivered is incomplete, the one
// that finds it delivered says so, once.
func TestUndeliveredIsLate(t *testing.T) {
	t.Parallel()
	streams, logs, a := plainWorld(10)
	grow(streams, logs, 10, 14, false)
	r := mustRun(t, a)
	if r.Verdict != Incomplete || r.Range[0].Pending != 4 || len(r.Findings) != 0 {
		t.Fatalf("%s: %v %v", r.Verdict, r.Findings, r.Incomplete)
	}
	// More come, and all wait.
	grow(streams, logs, 14, 16, false)
	if r := mustRun(t, a); r.Range[0].Pending != 6 || len(r.Findings) != 0 {
		t.Fatalf("%s: %v %v", r.Verdict, r.Findings, r.Incomplete)
	}
	// One of them is passed over.
	for i := 10; i < 16; i++ {
		if i != 12 {
			logs.append("t.a", 0, rawRecord(0, EntryID{MS: uint64(1000 + i)},
				fmt.Sprint("e", i), "created", fmt.Sprint("k", i), "p"))
		}
	}
	grow(streams, logs, 16, 20, true)
	r = mustRun(t, a)
	if r.Verdict != Drift || r.Counts[Lost] != 1 || r.Counts[Late] != 5 || len(r.Findings) != 2 {
		t.Fatalf("%s: %v %v", r.Verdict, r.Findings, r.Incomplete)
	}
	if f := r.Findings[0]; f.Kind != Late || f.Entry != (EntryID{MS: 1009}) ||
		f.Last != (EntryID{MS: 1015}) {
		t.Fatalf("%+v", f)
	}
	if r := mustRun(t, a); r.Verdict != Agree || len(r.Findings) != 0 {
		t.Fatalf("%s: %v %v", r.Verdict, r.Findings, r.Incomplete)
	}
}

// TestUndeliveredIsLateByItsOwnObjective: what an audit in a hurry found undelivered is not late
// for one that gives it more time.
func TestUndeliveredIsLateByItsOwnObjective(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		first, then time.Duration
		late        int64
	}{{time.Second, time.Minute, 0}, {time.Minute, time.Minute, 4}, {time.Minute, time.Second, 4}} {
		streams, logs, a := plainWorld(10)
		grow(streams, logs, 10, 14, false)
		a.settle = x.first
		if r := mustRun(t, a); r.Verdict != Incomplete {
			t.Fatalf("%+v: %s", x, r.Verdict)
		}
		for i := 10; i < 14; i++ {
			logs.append("t.a", 0, rawRecord(0, EntryID{MS: uint64(1000 + i)},
				fmt.Sprint("e", i), "created", fmt.Sprint("k", i), "p"))
		}
		a.settle = x.then
		if r := mustRun(t, a); r.Verdict != Agree || r.Counts[Late] != x.late {
			t.Errorf("%+v: %s, %v", x, r.Verdict, r.Findings)
		}
	}
}

// TestLostThatComesBack: what was reported as lost and comes after all is late, and not a second
// record; a repair's is neither.
func TestLostThatComesBack(t *testing.T) {
	t.Parallel()
	streams, logs, a := plainWorld(5)
	grow(streams, logs, 5, 7, false)
	grow(streams, logs, 7, 10, true)
	if r := mustRun(t, a); r.Verdict != Drift || r.Counts[Lost] != 2 || r.Range[0].Missing != 2 {
		t.Fatalf("%s: %v", r.Verdict, r.Findings)
	}
	logs.append("t.a", 0, rawRecord(0, EntryID{MS: 1005}, "e5", "created", "k5", "p"))
	repaired := rawRecord(0, EntryID{MS: 1006}, "e6", "created", "k6", "p")
	repaired.Headers = append(repaired.Headers,
		kgo.RecordHeader{Key: headerRepair, Value: []byte("1")})
	logs.append("t.a", 0, repaired)
	r := mustRun(t, a)
	if r.Verdict != Agree || r.Counts[Late] != 1 || r.Repaired != 1 || len(r.Findings) != 1 ||
		r.Range[0].Missing != 0 {
		t.Fatalf("%s: %v %v", r.Verdict, r.Findings, r.Incomplete)
	}
}

// TestRetentionIsNoLoss: entries whose records the topic has removed cannot be compared; what is
// missing after its first record is lost.
func TestRetentionIsNoLoss(t *testing.T) {
	t.Parallel()
	streams, logs, a := plainWorld(10)
	grow(streams, logs, 10, 11, false)
	grow(streams, logs, 11, 20, true)
	p := logs.byName["t.a"][0]
	for i := range 5 {
		p.records[i] = nil
	}
	p.start = 5
	r := mustRun(t, a)
	if r.Counts[Unverifiable] != 5 || r.Counts[Lost] != 1 {
		t.Fatalf("%v %v", r.Counts, r.Findings)
	}
	_ = streams
}

// TestWhatWasDeletedBeforeTheFirstAudit cannot be known, and is said.
func TestWhatWasDeletedBeforeTheFirstAudit(t *testing.T) {
	t.Parallel()
	streams, _, a := plainWorld(10)
	streams.shards[0].del(EntryID{MS: 1004})
	r := mustRun(t, a)
	if r.Verdict != Incomplete || !strings.Contains(strings.Join(r.Incomplete, ""),
		"deleted by hand") {
		t.Fatalf("%s %v", r.Verdict, r.Incomplete)
	}
}

// TestTrimmedBeforeAudit: a retention that is faster than the audits leaves records without
// entries, which agree in number.
func TestTrimmedBeforeAudit(t *testing.T) {
	t.Parallel()
	streams, logs, a := plainWorld(10)
	if r := mustRun(t, a); r.Verdict != Agree {
		t.Fatalf("%v", r.Findings)
	}
	grow(streams, logs, 10, 30, true)
	streams.shards[0].entries = streams.shards[0].entries[15:]
	r := mustRun(t, a)
	if r.Verdict != Incomplete || r.Counts[Unverifiable] != 5 ||
		r.Counts[Orphaned]+r.Counts[Lost] != 0 {
		t.Fatalf("%s: %v %v", r.Verdict, r.Findings, r.Incomplete)
	}
}

// TestTrimmedWhileAudited: a retention that takes entries before they are read, and more of them
// before they are looked into, is neither a loss nor agreement; an entry among them that was never
// delivered is lost all the same.
func TestTrimmedWhileAudited(t *testing.T) {
	t.Parallel()
	for _, lost := range []int{0, 1, 2} {
		streams, logs, a := plainWorld(10)
		if r := mustRun(t, a); r.Verdict != Agree {
			t.Fatalf("%v", r.Findings)
		}
		grow(streams, logs, 10, 13, true)
		grow(streams, logs, 13, 13+lost, false)
		grow(streams, logs, 13+lost, 30, true)
		s := &streams.shards[0]
		s.entries = s.entries[13:] // three before they are read
		streams.after = func(to EntryID) {
			if to == s.last { // seven more when they were read
				s.entries, streams.after = s.entries[7:], nil
			}
		}
		r := mustRun(t, a)
		want := Incomplete
		if lost > 0 {
			want = Drift
		}
		if r.Verdict != want || r.Counts[Lost] != int64(lost) ||
			r.Counts[Unverifiable] != 10-int64(lost) || r.Counts[Orphaned] != 0 {
			t.Errorf("%d lost: %s: %v %v", lost, r.Verdict, r.Findings, r.Incomplete)
		}
		if r := mustRun(t, a); r.Verdict != Agree {
			t.Errorf("%d lost: %v %v", lost, r.Findings, r.Incomplete)
		}
	}
}

// TestFailingReadsNeverAgree fails the read of each offset in turn, for good: no run agrees, and
// the run after it finds everything in order.
func TestFailingReadsNeverAgree(t *testing.T) {
	t.Parallel()
	for at := range int64(12) {
		_, logs, a := plainWorld(12)
		a.tileEntries, a.roundEntries = 2, 4
		logs.fail = func(_ string, _ int32, offset int64) error {
			if offset == at {
				return errors.New("broken")
			}
			return nil
		}
		r := mustRun(t, a)
		if r.Verdict != Incomplete || !strings.Contains(strings.Join(r.Incomplete, ""), "broken") {
			t.Fatalf("offset %d: %s %v", at, r.Verdict, r.Incomplete)
		}
		logs.fail = nil
		if r := mustRun(t, a); r.Verdict != Agree || len(r.Findings) > 0 {
			t.Fatalf("after offset %d: %s %v %v", at, r.Verdict, r.Findings, r.Incomplete)
		}
	}
}

// TestSecondWait: what was not delivered within the settling time is looked for once more. What
// has come then is late, what has not keeps the audit from agreeing, and is not called lost.
func TestSecondWait(t *testing.T) {
	t.Parallel()
	streams, logs, a := plainWorld(10)
	a.tileEntries, a.roundEntries = 3, 12
	grow(streams, logs, 10, 20, false)
	logs.positions[0] = EntryID{MS: 1009}
	a.waits = func(n int) {
		if n == 2 { // the first wait is the settling time
			for i := 10; i < 17; i++ {
				logs.append("t.a", 0, rawRecord(0, EntryID{MS: uint64(1000 + i)},
					fmt.Sprint("e", i), "created", fmt.Sprint("k", i), "p"))
			}
		}
	}
	r := mustRun(t, a)
	if r.Verdict != Incomplete || r.Counts[Late] != 7 || len(r.Findings) != 1 ||
		r.Range[0].Pending != 3 || r.Entries != 17 {
		t.Fatalf("%s: %v %v %+v", r.Verdict, r.Findings, r.Incomplete, r.Range)
	}
	a.waits = nil
	for i := 17; i < 20; i++ {
		logs.append("t.a", 0, rawRecord(0, EntryID{MS: uint64(1000 + i)},
			fmt.Sprint("e", i), "created", fmt.Sprint("k", i), "p"))
	}
	if r := mustRun(t, a); r.Verdict != Agree || r.Counts[Late] != 3 || len(r.Findings) != 1 ||
		r.Entries != 3 {
		t.Fatalf("%s: %v %v", r.Verdict, r.Findings, r.Incomplete)
	}
}

// TestOpenTransactionIsNoLoss: a relay that died has left its transaction open, which holds back
// the records of another shard that are after it. They cannot be seen, and are not lost.
func TestOpenTransactionIsNoLoss(t *testing.T) {
	t.Parallel()
	streams, logs, a := plainWorld(10)
	if r := mustRun(t, a); r.Verdict != Agree {
		t.Fatalf("%v", r.Findings)
	}
	grow(streams, logs, 10, 20, true)
	logs.positions[0] = EntryID{MS: 1019}
	p := logs.byName["t.a"][0]
	p.open = 15
	r := mustRun(t, a)
	if r.Verdict != Incomplete || len(r.Findings) != 0 ||
		!strings.Contains(strings.Join(r.Incomplete, ""), "a transaction is open since offset 15") {
		t.Fatalf("%s: %v %v", r.Verdict, r.Findings, r.Incomplete)
	}
	p.open = 0
	if r := mustRun(t, a); r.Verdict != Agree || r.Entries != 10 {
		t.Fatalf("%s: %v %v", r.Verdict, r.Findings, r.Incomplete)
	}
}

// TestHiddenTopic: entries whose topic may not be read are unverifiable, at once and in one
// finding; when it may be read again their records are not taken for second ones.
func TestHiddenTopic(t *testing.T) {
	t.Parallel()
	for _, before := range []int{0, 10} { // entries audited before
		streams, logs, a := plainWorld(before)
		a.tileEntries = 1000
		if r := mustRun(t, a); r.Verdict != Agree {
			t.Fatalf("%v %v", r.Findings, r.Incomplete)
		}
		grow(streams, logs, before, 300, true)
		logs.positions[0] = EntryID{MS: 1299}
		logs.hidden = "t.a"
		r := mustRun(t, a)
		if r.Verdict != Incomplete || r.Counts[Unverifiable] != int64(300-before) ||
			len(r.Findings) > 3 || !strings.Contains(r.Findings[0].Detail, "may not be read") {
			t.Fatalf("%s: %v %v", r.Verdict, r.Findings, r.Incomplete)
		}
		if r := mustRun(t, a); r.Verdict != Incomplete || len(r.Findings) != 0 ||
			!strings.Contains(strings.Join(r.Incomplete, ""), "may not be read") {
			t.Fatalf("with nothing new: %s: %v %v", r.Verdict, r.Findings, r.Incomplete)
		}
		logs.hidden = ""
		grow(streams, logs, 300, 310, true)
		logs.positions[0] = EntryID{MS: 1309}
		if r := mustRun(t, a); r.Verdict != Agree || len(r.Findings) != 0 || r.Entries != 10 {
			t.Fatalf("%s: %v %v", r.Verdict, r.Findings, r.Incomplete)
		}
	}
}

// TestTopicMadeAgain: what a topic held before it was deleted is not lost.
func TestTopicMadeAgain(t *testing.T) {
	t.Parallel()
	streams, logs, a := plainWorld(10)
	if r := mustRun(t, a); r.Verdict != Agree {
		t.Fatalf("%v %v", r.Findings, r.Incomplete)
	}
	grow(streams, logs, 10, 15, false)
	logs.ids = map[string]string{"t.a": "another"}
	logs.byName["t.a"] = []*memoryPartition{{}}
	grow(streams, logs, 15, 20, true)
	logs.positions[0] = EntryID{MS: 1019}
	r := mustRun(t, a)
	if r.Verdict != Incomplete || r.Counts[Unverifiable] != 5 || len(r.Findings) != 5 ||
		!strings.Contains(r.Findings[0].Detail, "made again") {
		t.Fatalf("%s: %v %v", r.Verdict, r.Findings, r.Incomplete)
	}
	if r := mustRun(t, a); r.Verdict != Agree || len(r.Findings) != 0 {
		t.Fatalf("%s: %v %v", r.Verdict, r.Findings, r.Incomplete)
	}
}

// TestPendingIsNotLost: in at-least-once delivery a relay that died has sent a later entry before
// an earlier one, to another partition. The earlier one is pending in the consumer group until
// another relay claims it.
func TestPendingIsNotLost(t *testing.T) {
	t.Parallel()
	streams, logs, a := plainWorld(10)
	grow(streams, logs, 10, 11, false)
	grow(streams, logs, 11, 12, true)
	streams.shards[0].inFlight = map[EntryID]bool{{MS: 1010}: true}
	r := mustRun(t, a)
	if r.Verdict != Incomplete || len(r.Findings) != 0 ||
		!strings.Contains(strings.Join(r.Incomplete, ""), "pending in the consumer group") {
		t.Fatalf("%s: %v %v", r.Verdict, r.Findings, r.Incomplete)
	}
	logs.append("t.a", 0, rawRecord(0, EntryID{MS: 1010}, "e10", "created", "k10", "p"))
	streams.shards[0].inFlight = nil
	if r := mustRun(t, a); r.Verdict != Agree || len(r.Findings) != 0 || r.Entries != 12 {
		t.Fatalf("%s: %v %v", r.Verdict, r.Findings, r.Incomplete)
	}
}

// TestRedisWentBack: a stream that ends below what was audited, that has added less, that has
// another entry there, or that ends below what was delivered, never agrees.
func TestRedisWentBack(t *testing.T) {
	t.Parallel()
	for name, back := range map[string]func(*memoryStream){
		"shorter": func(s *memoryStream) {
			s.entries, s.last, s.added = s.entries[:8], EntryID{MS: 1007}, 8
		},
		"fewer added": func(s *memoryStream) {
			s.entries, s.last, s.added = s.entries[:8], EntryID{MS: 1007}, 8
			s.add(EntryID{MS: 1020}, entryFields("e20", "a", "k20", "created", "p")...)
		},
		"another entry": func(s *memoryStream) {
			s.entries, s.last, s.added = s.entries[:9], EntryID{MS: 1008}, 9
			s.add(EntryID{MS: 1009}, entryFields("another", "a", "k9", "created", "p")...)
		},
	} {
		streams, _, a := plainWorld(10)
		if r := mustRun(t, a); r.Verdict != Agree {
			t.Fatalf("%v %v", r.Findings, r.Incomplete)
		}
		back(&streams.shards[0])
		if r := mustRun(t, a); r.Verdict == Agree ||
			!strings.Contains(strings.Join(r.Incomplete, ""), "Redis went back") {
			t.Errorf("%s: %s: %v %v", name, r.Verdict, r.Findings, r.Incomplete)
		}
	}

	streams, logs, a := plainWorld(10)
	if r := mustRun(t, a); r.Verdict != Agree {
		t.Fatalf("%v %v", r.Findings, r.Incomplete)
	}
	logs.append("t.a", 0, rawRecord(0, EntryID{MS: 1010}, "e10", "created", "k10", "p"))
	for range 2 {
		if r := mustRun(t, a); r.Verdict != Incomplete || len(r.Findings) > 0 ||
			!strings.Contains(strings.Join(r.Incomplete, ""), "Kafka has a record of 1010-0") {
			t.Errorf("%s: %v %v", r.Verdict, r.Findings, r.Incomplete)
		}
	}
	grow(streams, logs, 20, 21, true)
	if r := mustRun(t, a); r.Verdict != Drift || r.Counts[Orphaned] != 1 || len(r.Findings) != 1 {
		t.Errorf("%s: %v %v", r.Verdict, r.Findings, r.Incomplete)
	}
}

// TestRecordAfterAnOrphan: the round has stopped before an entry's own record, because an orphan
// was counted in its place, and has seen its second one in another partition. The second one is the
// one too many.
func TestRecordAfterAnOrphan(t *testing.T) {
	t.Parallel()
	streams, logs := &memoryStreams{shards: make([]memoryStream, 1)},
		&memoryLogs{byName: map[string][]*memoryPartition{}, positions: map[int]EntryID{}}
	logs.make("t.a", 2)
	logs.make("dlq", 1)
	a := newAuditor(streams, logs)
	a.tileEntries, a.roundEntries = 1, 1
	key, n := "", 0
	for own := -1; own != 0; n++ {
		key = fmt.Sprint("k", n)
		own = outbox.Partition([]byte(key), 2)
	}
	streams.shards[0].add(EntryID{MS: 1000}, entryFields("e0", "a", key, "created", "p")...)
	streams.shards[0].add(EntryID{MS: 1001}, entryFields("e1", "a", key, "created", "p")...)
	streams.shards[0].add(EntryID{MS: 1002}, entryFields("e2", "a", key, "created", "p")...)
	logs.append("t.a", 0, rawRecord(0, EntryID{MS: 1000}, "e0", "created", key, "p"))
	logs.append("t.a", 0,
		rawRecord(0, EntryID{MS: 1000, Seq: 5}, "never", "created", "never", "p"))
	logs.append("t.a", 0, rawRecord(0, EntryID{MS: 1001}, "e1", "created", key, "p"))
	logs.append("t.a", 0, rawRecord(0, EntryID{MS: 1002}, "e2", "created", key, "p"))
	logs.append("t.a", 1, rawRecord(0, EntryID{MS: 1001}, "e1", "created", key, "p"))
	logs.positions[0] = EntryID{MS: 1002}
	var second []Finding
	for _, f := range mustRun(t, a).Findings {
		if f.Kind != Orphaned {
			second = append(second, f)
		}
	}
	if len(second) != 1 || second[0].Kind != Duplicated || second[0].Partition != 1 {
		t.Fatalf("%v", second)
	}
}
