package kafkalog

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (l *lab) producer(id string) *kgo.Client {
	l.t.Helper()
	client, err := kgo.NewClient(append(slices.Clone(l.opts), kgo.TransactionalID(id),
		kgo.DefaultProduceTopic("topic"), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		l.t.Fatal(err)
	}
	return client
}

func (l *lab) begin(client *kgo.Client, values ...string) {
	l.t.Helper()
	if err := client.BeginTransaction(); err != nil {
		l.t.Fatal(err)
	}
	for _, v := range values {
		if err := client.ProduceSync(l.t.Context(),
			&kgo.Record{Key: []byte(v), Value: []byte(v)}).FirstErr(); err != nil {
			l.t.Fatal(err)
		}
	}
}

func (l *lab) end(client *kgo.Client, commit kgo.TransactionEndTry) {
	l.t.Helper()
	if err := client.EndTransaction(l.t.Context(), commit); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) open(level kgo.IsolationLevel) *Log {
	l.t.Helper()
	found, err := Leaders(l.t.Context(), l.client, "topic")
	if err != nil {
		l.t.Fatal(err)
	}
	log, err := Open(l.client, found["topic"], 0, level)
	if err != nil {
		l.t.Fatal(err)
	}
	return log
}

// scan gives what is read as text: values, and C or A for markers.
func (l *lab) scan(log *Log, from int64) (string, End) {
	l.t.Helper()
	var all []string
	last := int64(-1)
	end, err := log.Scan(l.t.Context(), from, func(r *kgo.Record) {
		if r.Offset <= last {
			l.t.Errorf("offset %d after %d", r.Offset, last)
		}
		last = r.Offset
		switch {
		case r.Attrs.IsControl() && r.Key[3] == 1:
			all = append(all, "C")
		case r.Attrs.IsControl():
			all = append(all, "A")
		default:
			all = append(all, string(r.Value))
		}
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return strings.Join(all, " "), end
}

func TestScan(t *testing.T) {
	t.Parallel()
	inLab(t, func(t *testing.T, l *lab) {
		if err := l.cluster.CreateTopic("topic", 1, nil); err != nil {
			t.Fatal(err)
		}
		committed, uncommitted := l.open(kgo.ReadCommitted()), l.open(kgo.ReadUncommitted())
		check := func(when string, log *Log, from int64, want string, wantEnd End) {
			t.Helper()
			if got, end := l.scan(log, from); got != want || end != wantEnd {
				t.Errorf("%s: got %q up to %+v, want %q up to %+v", when, got, end, want, wantEnd)
			}
		}
		check("empty", committed, 0, "", End{})
		check("empty", uncommitted, 0, "", End{})
		a, b := l.producer("a"), l.producer("b")
		defer a.Close()
		defer b.Close()
		l.begin(a, "1", "2")
		check("open", committed, 0, "", End{0, 0})
		check("open", uncommitted, 0, "1 2", End{2, 0})
		l.end(a, kgo.TryCommit) // 2: marker
		check("committed", committed, 0, "1 2", End{3, 3})
		check("committed", uncommitted, 0, "1 2 C", End{3, 3})
		l.begin(a, "3")
		l.end(a, kgo.TryAbort) // 4: marker
		check("aborted", committed, 0, "1 2", End{5, 5})
		check("aborted", uncommitted, 0, "1 2 C 3 A", End{5, 5})
		l.begin(b, "4") // 5
		l.begin(a, "5") // 6
		l.end(a, kgo.TryCommit)
		check("committed after an open one", committed, 0, "1 2", End{5, 5})
		check("committed after an open one", uncommitted, 0, "1 2 C 3 A 4 5 C", End{8, 5})
		l.end(b, kgo.TryCommit)
		check("all committed", committed, 0, "1 2 4 5", End{9, 9})
		for from, want := range map[int64]string{
			-5: "1 2 C 3 A 4 5 C C", 1: "2 C 3 A 4 5 C C",
			2: "C 3 A 4 5 C C", 8: "C", 9: "",
		} {
			check(fmt.Sprint("from ", from), uncommitted, from, want, End{9, 9})
		}
		check("from the end", committed, 9, "", End{9, 9})
		for _, log := range []*Log{committed, uncommitted} {
			start, err := log.Start(t.Context())
			if err != nil || start != 0 {
				t.Errorf("starts at %d, %v", start, err)
			}
			if latest, err := log.Latest(t.Context()); err != nil || latest != 9 {
				t.Errorf("ends at %d, %v", latest, err)
			}
		}
		if err := l.cluster.DeleteRecords("topic", 0, 5); err != nil {
			t.Fatal(err)
		}
		check("from before the first", committed, 0, "4 5", End{9, 9})
		check("from before the first", uncommitted, 3, "4 5 C C", End{9, 9})
		if _, err := committed.Scan(t.Context(), 100, func(*kgo.Record) {}); err != nil {
			// the log was truncated: whatever it says, nothing is invented
			t.Logf("from after the end: %v", err)
		}
	})
}

// A log of many fetches is read through, each record once.
func TestScanManyFetches(t *testing.T) {
	t.Parallel()
	inLab(t, func(t *testing.T, l *lab) {
		if err := l.cluster.CreateTopic("topic", 1, nil); err != nil {
			t.Fatal(err)
		}
		client, err := kgo.NewClient(append(slices.Clone(l.opts), kgo.DefaultProduceTopic("topic"),
			kgo.ProducerBatchCompression(kgo.NoCompression()))...)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		value := make([]byte, 900_000)
		for range 12 {
			if err := client.ProduceSync(t.Context(), &kgo.Record{Value: value}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		fetches := 0
		l.cluster.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
			l.cluster.KeepControl()
			fetches++
			return nil, nil, false
		})
		n := int64(0)
		end, err := l.open(kgo.ReadCommitted()).Scan(t.Context(), 0, func(r *kgo.Record) {
			if r.Offset != n {
				t.Errorf("offset %d, want %d", r.Offset, n)
			}
			n++
		})
		if err != nil || n != 12 || end.Next != 12 || fetches < 2 {
			t.Errorf("%d records in %d fetches up to %+v, %v", n, fetches, end, err)
		}
	})
}

// What compaction has taken away is passed over, also where it was the last before the end.
func TestScanCompacted(t *testing.T) {
	t.Parallel()
	compact := "compact"
	inLab(t, func(t *testing.T, l *lab) {
		if err := l.cluster.CreateTopic("topic", 1,
			map[string]string{
				"cleanup.policy": compact, "min.cleanable.dirty.ratio": "0",
				"segment.ms": "1",
			}); err != nil {
			t.Fatal(err)
		}
		a := l.producer("a")
		defer a.Close()
		for range 10 {
			l.begin(a, "x", "y")
			l.end(a, kgo.TryCommit)
		}
		l.cluster.Compact()
		log := l.open(kgo.ReadCommitted())
		got, end := l.scan(log, 0)
		if !strings.HasSuffix(got, "x y") || end.Next != 30 || end.Stable != 30 {
			t.Errorf("got %q up to %+v", got, end)
		}
		last, err := log.Last(t.Context(), func(r *kgo.Record) bool { return string(r.Key) == "x" })
		if err != nil || last == nil || last.Offset != 27 {
			t.Errorf("the last x is %+v, %v", last, err)
		}
	})
}

func TestLast(t *testing.T) {
	t.Parallel()
	inLab(t, func(t *testing.T, l *lab) {
		if err := l.cluster.CreateTopic("topic", 1, nil); err != nil {
			t.Fatal(err)
		}
		log := l.open(kgo.ReadCommitted())
		is := func(value string) func(*kgo.Record) bool {
			return func(r *kgo.Record) bool { return string(r.Value) == value }
		}
		if r, err := log.Last(t.Context(), is("x")); r != nil || err != nil {
			t.Errorf("of an empty log: %+v, %v", r, err)
		}
		a := l.producer("a")
		defer a.Close()
		l.begin(a, "x", "x")
		for range 300 {
			a.Produce(t.Context(), &kgo.Record{Value: []byte("y")}, nil)
		}
		if err := a.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.end(a, kgo.TryCommit)
		l.begin(a, "x")
		l.end(a, kgo.TryAbort)
		for value, want := range map[string]int64{"x": 1, "y": 301} {
			if r, err := log.Last(t.Context(), is(value)); err != nil || r == nil || r.Offset != want {
				t.Errorf("the last %s is %+v, %v, want offset %d", value, r, err, want)
			}
		}
		if r, err := log.Last(t.Context(), is("z")); r != nil || err != nil {
			t.Errorf("of what is not there: %+v, %v", r, err)
		}
	})
}

func TestAt(t *testing.T) {
	t.Parallel()
	inLab(t, func(t *testing.T, l *lab) {
		if err := l.cluster.CreateTopic("topic", 1, nil); err != nil {
			t.Fatal(err)
		}
		a := l.producer("a")
		defer a.Close()
		l.begin(a, "1", "2")
		l.end(a, kgo.TryCommit)
		log := l.open(kgo.ReadUncommitted())
		for offset, want := range map[int64]string{0: "1", 1: "2"} {
			if r, err := log.At(t.Context(), offset); err != nil || r == nil || string(r.Value) != want ||
				r.Offset != offset {
				t.Errorf("at %d: %+v, %v", offset, r, err)
			}
		}
		if r, err := log.At(t.Context(), 2); err != nil || r == nil || !r.Attrs.IsControl() {
			t.Errorf("at the marker: %+v, %v", r, err)
		}
		if r, err := log.At(t.Context(), 3); err != nil || r != nil {
			t.Errorf("at the end: %+v, %v", r, err)
		}
	})
}

// A leader that is none any more says so: what it has is not taken for an answer.
func TestScanOfADeposedLeader(t *testing.T) {
	t.Parallel()
	inLab(t, func(t *testing.T, l *lab) {
		if err := l.cluster.CreateTopic("topic", 1, nil); err != nil {
			t.Fatal(err)
		}
		log := l.open(kgo.ReadCommitted())
		if err := l.cluster.MoveTopicPartition("topic", 0, (log.Leader()+1)%3); err != nil {
			t.Fatal(err)
		}
		if _, err := log.Scan(t.Context(), 0, func(*kgo.Record) {}); !errors.Is(err,
			kerr.NotLeaderForPartition) ||
			!strings.Contains(err.Error(), "topic topic, partition 0, broker") {
			t.Errorf("got %v", err)
		}
		if _, err := log.Latest(t.Context()); err == nil {
			t.Error("a deposed leader tells where the log ends")
		}
		if got := l.open(kgo.ReadCommitted()); got.Leader() == log.Leader() {
			t.Error("asked again, it is still the leader")
		}
	})
}

func TestScanFails(t *testing.T) {
	t.Parallel()
	inLab(t, func(t *testing.T, l *lab) {
		if err := l.cluster.CreateTopic("topic", 1, nil); err != nil {
			t.Fatal(err)
		}
		log := l.open(kgo.ReadCommitted())
		for _, want := range []*kerr.Error{
			kerr.TopicAuthorizationFailed, kerr.KafkaStorageError,
			kerr.UnknownTopicOrPartition, kerr.OffsetOutOfRange,
		} {
			fault := l.cluster.Fault(kfake.Fault{
				Keys: []kmsg.Key{kmsg.Fetch}, Topic: "topic", Err: want,
				Count: -1,
			})
			if _, err := log.Scan(t.Context(), 0, func(*kgo.Record) {}); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
			fault.Remove()
		}
		l.cluster.Close()
		if _, err := log.Scan(t.Context(), 0, func(*kgo.Record) {}); err == nil {
			t.Error("read without a broker")
		}
	})
}
