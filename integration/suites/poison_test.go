//go:build integration

package suites_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/integration/testenv"
	"github.com/sluice-outbox/sluice/internal/names"
	"github.com/sluice-outbox/sluice/outbox"
	"github.com/sluice-outbox/sluice/relay"
)

// poison is an entry that cannot be delivered.
type poison struct {
	name   string
	reason relay.Reason
	fields func(w *testenv.Env) []any
}

// with is a valid entry with more fields at its end.
func with(more ...any) func(*testenv.Env) []any {
	return func(w *testenv.Env) []any { return append(w.Fields("payload"), more...) }
}

// without is a valid entry that lacks the n-th of its fields.
func without(n int) func(*testenv.Env) []any {
	return func(w *testenv.Env) []any {
		f := w.Fields("payload")
		return append(f[:2*n:2*n], f[2*n+2:]...)
	}
}

var poisons = []poison{
	{"field missing", relay.ReasonUndecodable, without(0)},
	{"no payload field", relay.ReasonUndecodable, without(4)},
	{"not an event at all", relay.ReasonUndecodable, func(*testenv.Env) []any {
		return []any{"hello", "world \x00\xff\r\n"}
	}},
	{"format version 7", relay.ReasonUndecodable, with(outbox.FieldVersion, "7")},
	{"unknown field", relay.ReasonUndecodable, with("colour", "red")},
	{"field twice", relay.ReasonUndecodable, with(outbox.FieldType, "Again")},
	{"time is no number", relay.ReasonUndecodable, with(outbox.FieldTime, "yesterday")},
	{"topic name that Kafka forbids", relay.ReasonNoRoute, with(outbox.FieldTopic, "no such: topic")},
	{"larger than the topic takes", relay.ReasonTooLarge, func(w *testenv.Env) []any {
		return w.Fields(strings.Repeat("\x00large", 300_000))
	}},
	// The topic of the test takes no records that are older than an hour: only the broker knows that.
	{"refused by the broker", relay.ReasonRejected, with(outbox.FieldTime, "1000000000000")},
}

// TestPoisonIsDeadLetteredAndTheRestFlowsOn: entries that cannot be delivered go to the dead-letter
// topic, each with its original bytes, its reason and its entry ID, and the events between and
// after them are delivered in order.
func TestPoisonIsDeadLetteredAndTheRestFlowsOn(t *testing.T) {
	t.Parallel()
	for _, d := range []relay.Delivery{relay.DeliveryExactlyOnce, relay.DeliveryAtLeastOnce} {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			w := shared(t, 1)
			hour := "3600000"
			if _, err := kadm.NewClient(w.Kafka).CreateTopic(deadline(t, time.Minute), 1, -1,
				map[string]*string{"message.timestamp.before.max.ms": &hour}, w.Topic()); err != nil {
				t.Fatal(err)
			}
			want := map[string]poison{}
			for _, p := range poisons {
				w.Add(0, 10, "before the poison")
				want[w.AddFields(0, "*", p.fields(w)...)] = p
			}
			w.Add(0, 10, "after the last")
			cfg := w.Config()
			cfg.Delivery = d
			w.Run(cfg)
			w.AwaitPassed(time.Minute)
			w.Add(0, 10, "added later")
			w.AwaitPassed(time.Minute)

			var good []testenv.Entry
			for _, e := range w.Entries() {
				if _, bad := want[e.ID.String()]; !bad {
					good = append(good, e)
				}
			}
			report := testenv.Compare(good, w.Delivered())
			t.Log(report)
			err := report.ExactlyOnce()
			if d == relay.DeliveryAtLeastOnce {
				err = report.AtLeastOnce() // what stood in one batch with a refused record is sent again
			}
			if err != nil {
				t.Error(err)
			}
			checkDeadLetters(t, w, want)
		})
	}
}

// checkDeadLetters wants the entries in the dead-letter topic, whole, and nothing else. Of records
// with one key the last one counts, as it does for compaction: at-least-once delivery may have sent
// a dead letter twice.
func checkDeadLetters(t *testing.T, w *testenv.Env, want map[string]poison) {
	t.Helper()
	last := map[string]*kgo.Record{}
	first := map[string]*kgo.Record{} // the first chunk of each entry
	for _, r := range w.Records(names.DeadLetterTopic(w.Outbox)) {
		last[string(r.Key)] = r
		if !bytes.Contains(r.Key, []byte("#")) {
			first[string(r.Key)] = r
		}
	}
	whole := func(ref string) (value []byte) {
		value = append(value, last[ref].Value...)
		for n := 1; last[fmt.Sprintf("%s#%d", ref, n)] != nil; n++ {
			value = append(value, last[fmt.Sprintf("%s#%d", ref, n)].Value...)
		}
		return value
	}
	if len(first) != len(want) {
		t.Errorf("%d entries are dead-lettered, want %d", len(first), len(want))
	}
	for id, p := range want {
		ref := fmt.Sprintf("%s/0/%s", w.Outbox, id)
		r := first[ref]
		if r == nil {
			t.Errorf("%s: entry %s is not in the dead-letter topic", p.name, id)
			continue
		}
		if got := testenv.Header(r, "sluice-reason"); got != string(p.reason) {
			t.Errorf("%s: reason %s (%s), want %s", p.name, got, testenv.Header(r, "sluice-detail"),
				p.reason)
		}
		if got := testenv.Header(r, "sluice-entry"); got != ref {
			t.Errorf("%s: header sluice-entry %q, want %q", p.name, got, ref)
		}
		if !bytes.Equal(whole(ref), original(t, w, id)) {
			t.Errorf("%s: the dead letter does not have the entry's bytes", p.name)
		}
		t.Logf("%s: %s: %s", p.name, testenv.Header(r, "sluice-reason"),
			testenv.Header(r, "sluice-detail"))
	}
}

// original is an entry's fields as a RESP array of bulk strings, made from what Redis says today.
func original(t *testing.T, w *testenv.Env, id string) []byte {
	t.Helper()
	reply, err := w.Redis.Do(deadline(t, time.Minute), "XRANGE", w.Stream(0), id, id).Slice()
	if err != nil || len(reply) != 1 {
		t.Fatalf("XRANGE: %v, %v", reply, err)
	}
	fields := reply[0].([]any)[1].([]any)
	b := fmt.Appendf(nil, "*%d\r\n", len(fields))
	for _, f := range fields {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(f.(string)), f)
	}
	return b
}

// TestPoisonHaltsByPolicy: a reason that is not to be dead-lettered halts the shard before the
// entry; what comes before it is delivered. Skipped by hand, the shard goes on after it.
func TestPoisonHaltsByPolicy(t *testing.T) {
	t.Parallel()
	w := shared(t, 1)
	w.Add(0, 10, "before")
	bad := w.AddFields(0, "*", "hello", "world")
	w.Add(0, 10, "after")
	cfg := w.Config()
	cfg.DeadLetter.On = []relay.Reason{relay.ReasonTooLarge}
	w.Run(cfg)
	st := w.AwaitState(0, relay.StateHalted, time.Minute)
	t.Logf("halted: %s", st.Reason)
	if st.Entry != bad || !strings.Contains(st.Reason, string(relay.ReasonUndecodable)) {
		t.Errorf("halted for entry %s: %s; want entry %s and its reason", st.Entry, st.Reason, bad)
	}
	if got := len(w.Delivered()); got != 10 {
		t.Errorf("%d records before the halt, want 10", got)
	}
	id, err := outbox.ParseEntryID(bad)
	if err != nil {
		t.Fatal(err)
	}
	resume(t, w, 0, id)
	w.AwaitCommitted(time.Minute)
	if got := len(w.Delivered()); got != 20 {
		t.Errorf("%d records after the entry was skipped, want 20", got)
	}
}
