package consistency

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/sluice-outbox/sluice/outbox"
)

// auditor runs the engine over memory, keeping its state as JSON as the real one does.
type auditor struct {
	streams *memoryStreams
	logs    *memoryLogs
	settings
	state   []byte
	reports []*Report
	killAt  int         // the save that fails; 0: none
	other   logs        // instead of logs, if not nil
	waits   func(n int) // called at the n-th wait of a run, if not nil
}

func newAuditor(streams *memoryStreams, logs *memoryLogs) *auditor {
	return &auditor{streams: streams, logs: logs, settings: settings{
		outbox: "o", route: "t.{{.AggregateType}}", format: Raw, deadLetter: "dlq", watch: []string{"t.*", "stray"},
		tileEntries: 100, roundEntries: 1000, workers: 1, mostSuspects: 1000,
	}}
}

var errKilled = fmt.Errorf("killed")

func (a *auditor) run() (*Report, error) {
	var state State
	if a.state != nil {
		if err := json.Unmarshal(a.state, &state); err != nil {
			return nil, err
		}
	}
	if err := state.forRun("o", len(a.streams.shards), false); err != nil {
		return nil, err
	}
	r := newReport("o", state.Run)
	saves, waits := 0, 0
	wait := func(context.Context, time.Duration) error {
		if waits++; a.waits != nil {
			a.waits(waits)
		}
		return nil
	}
	e := &engine{settings: a.settings, streams: a.streams, logs: a.logs, wait: wait, now: time.Now, state: &state, report: r}
	if a.other != nil {
		e.logs = a.other
	}
	e.save = func(context.Context, []Tile) error {
		if saves++; saves == a.killAt {
			return errKilled
		}
		var err error
		a.state, err = json.Marshal(&state)
		return err
	}
	if err := e.run(context.Background(), len(a.streams.shards)); err != nil {
		return nil, err
	}
	if !e.gaveUp {
		var err error
		if a.state, err = json.Marshal(&state); err != nil {
			return nil, err
		}
		a.reports = append(a.reports, r)
	}
	return r, nil
}

// smallWorld is a few streams and topics in which faults are planted.
type smallWorld struct {
	streams *memoryStreams
	logs    *memoryLogs
	clock   uint64
	events  int
	planted []string
	// deletes and orphans are not planted in one world: which of the two a record without an entry is, is then undecidable.
	deletes bool
	again   []func()                   // duplicates for a later stage
	old     map[*memoryPartition]int64 // where the stage began: what stands before it has been audited and cannot change
}

func newSmallWorld(t *rapid.T) *smallWorld {
	w := &smallWorld{
		streams: &memoryStreams{shards: make([]memoryStream, rapid.IntRange(1, 3).Draw(t, "shards"))},
		logs:    &memoryLogs{byName: map[string][]*memoryPartition{}, positions: map[int]EntryID{}},
		deletes: rapid.Bool().Draw(t, "deletes"), clock: 1000,
	}
	w.logs.make("t.a", rapid.IntRange(1, 4).Draw(t, "partitions a"))
	w.logs.make("t.b", rapid.IntRange(1, 3).Draw(t, "partitions b"))
	w.logs.make("stray", 2)
	w.logs.make("dlq", 1)
	return w
}

func (w *smallWorld) id(t *rapid.T) EntryID {
	w.clock += uint64(rapid.IntRange(1, 3).Draw(t, "gap"))
	return EntryID{w.clock, 0}
}

// stage adds entries and their records, and plants faults among them.
func (w *smallWorld) stage(t *rapid.T) {
	again := w.again
	w.again = nil
	w.old = map[*memoryPartition]int64{}
	for _, partitions := range w.logs.byName {
		for _, p := range partitions {
			w.old[p] = int64(len(p.records))
		}
	}
	for range rapid.IntRange(0, 14).Draw(t, "entries") {
		w.entry(t)
	}
	for _, f := range again {
		f()
	}
	for shard := range w.streams.shards {
		w.logs.positions[shard] = w.streams.shards[shard].last
	}
}

func (w *smallWorld) entry(t *rapid.T) {
	shard := rapid.IntRange(0, len(w.streams.shards)-1).Draw(t, "shard")
	s := &w.streams.shards[shard]
	if rapid.IntRange(0, 30).Draw(t, "orphan") == 0 && !w.deletes {
		id := w.id(t)
		w.plant(Orphaned, id)
		w.logs.append("t.a", 0, rawRecord(shard, id, "never", "created", "k0", "p"))
		// The stream goes on above it, or the record would be of an entry that the audit has not come to.
	}
	id := w.id(t)
	w.events++
	event := fmt.Sprintf("e%d", w.events)
	aggregate := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "aggregate")
	key := rapid.SampledFrom([]string{"k0", "k1", "k2", "k3"}).Draw(t, "key")
	payload := rapid.SampledFrom([]string{"", "p", "payload"}).Draw(t, "payload")
	topic := "t." + aggregate
	n := len(w.logs.byName[topic])
	partition := outbox.Partition([]byte(key), n)
	good := func() *kgo.Record { return rawRecord(shard, id, event, "created", key, payload) }
	if rapid.IntRange(0, 2).Draw(t, "marker") == 0 {
		w.logs.append(topic, partition, nil)
	}
	fault := rapid.IntRange(0, 40).Draw(t, "fault")
	if fault != 12 && fault != 13 {
		s.add(id, entryFields(event, aggregate, key, "created", payload)...)
	}
	switch fault {
	case 1, 2:
		w.plant(Lost, id)
	case 3:
		w.plant(Duplicated, id)
		w.logs.append(topic, partition, good())
		w.logs.append(topic, partition, good())
	case 4:
		w.plant(Duplicated, id)
		w.logs.append(topic, partition, good())
		other := rapid.IntRange(0, n-1).Draw(t, "other")
		w.again = append(w.again, func() { w.logs.append(topic, other, good()) })
	case 5:
		w.plant(Duplicated, id)
		w.logs.append(topic, partition, good())
		w.logs.append("stray", 0, good())
	case 6, 7:
		// In the place of the record before it: whether that is a fault depends on the keys.
		w.plant(Reordered, id)
		p := w.logs.byName[topic][partition]
		o := w.logs.append(topic, partition, good())
		back := int64(rapid.IntRange(1, 4).Draw(t, "back"))
		if o-back >= w.old[p] && p.records[o-back] != nil {
			a, b := p.records[o], p.records[o-back]
			a.Offset, b.Offset = b.Offset, a.Offset
			p.records[o], p.records[o-back] = b, a
		}
	case 8, 9:
		w.plant(Altered, id)
		r := good()
		switch rapid.IntRange(0, 5).Draw(t, "edit") {
		case 0:
			r.Value = append([]byte("x"), r.Value...)
		case 1:
			r.Key = []byte("k9")
		case 2:
			r.Headers[0].Value = []byte("other")
		case 3:
			r.Headers[0], r.Headers[1] = r.Headers[1], r.Headers[0]
		case 4:
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: "more", Value: []byte("x")})
		case 5:
			r.Headers = slices.Delete(r.Headers, 2, 3)
		}
		w.logs.append(topic, partition, r)
	case 10:
		w.plant(Misdirected, id)
		w.logs.append(rapid.SampledFrom([]string{"stray", "t.a", "t.b"}).Draw(t, "wrong"), 0, good())
	case 11:
		w.plant("dead letter", id)
		w.logs.append("dlq", 0, deadRecord(shard, id))
	case 12:
		w.plant("not an event", id)
		s.add(id, "some", "thing")
		w.logs.append("dlq", 0, deadRecord(shard, id))
	case 13:
		w.plant("not an event, lost", id)
		s.add(id, "some", "thing")
		if rapid.Bool().Draw(t, "in a topic") {
			w.logs.append(topic, partition, good())
		}
	case 14, 15:
		if !w.deletes {
			w.logs.append(topic, partition, good())
			break
		}
		w.plant("deleted", id)
		s.del(id)
		if rapid.Bool().Draw(t, "delivered") {
			w.logs.append(topic, partition, good())
		}
	default:
		w.logs.append(topic, partition, good())
	}
}

func (w *smallWorld) plant(k Kind, id EntryID) {
	w.planted = append(w.planted, fmt.Sprint(k, " ", id))
}

// TestCleverAgreesWithDumb holds the engine, with tiles and rounds of a few entries, several runs and killed ones, against a checker
// that keeps everything in maps.
func TestCleverAgreesWithDumb(t *testing.T) {
	kinds := map[Kind]int{}
	rapid.Check(t, func(t *rapid.T) {
		w := newSmallWorld(t)
		// The first entries are there before the first run, so that the audit begins before all faults.
		for shard := range w.streams.shards {
			id := w.id(t)
			w.streams.shards[shard].add(id, entryFields(fmt.Sprint("first", shard), "a", "k0", "created", "p")...)
			w.logs.append("t.a", outbox.Partition([]byte("k0"), len(w.logs.byName["t.a"])), rawRecord(shard, id, fmt.Sprint("first", shard), "created", "k0", "p"))
		}
		a := newAuditor(w.streams, w.logs)
		a.tileEntries = int64(rapid.IntRange(1, 5).Draw(t, "tile"))
		a.roundEntries = a.tileEntries * int64(rapid.IntRange(1, 3).Draw(t, "round"))
		if _, err := a.run(); err != nil {
			t.Fatal(err)
		}
		stages := rapid.IntRange(1, 4).Draw(t, "stages")
		for n := range stages {
			w.stage(t)
			if n == stages-1 {
				// Something regular at the end of every shard, and the duplicates that are still to come.
				for shard := range w.streams.shards {
					id := w.id(t)
					event := fmt.Sprint("last", shard)
					w.streams.shards[shard].add(id, entryFields(event, "b", "k1", "created", "p")...)
					w.logs.append("t.b", outbox.Partition([]byte("k1"), len(w.logs.byName["t.b"])), rawRecord(shard, id, event, "created", "k1", "p"))
				}
				for _, f := range w.again {
					f()
				}
			}
			a.killAt = rapid.IntRange(0, 3).Draw(t, "killed at")
			if _, err := a.run(); err != nil {
				t.Fatal(err)
			}
		}
		a.killAt = 0
		if _, err := a.run(); err != nil {
			t.Fatal(err)
		}
		want, wantGone := dumb(w.streams, w.logs, "dlq")
		got := map[dumbKey]bool{}
		gotGone := map[int]int64{}
		for _, r := range a.reports {
			for _, why := range r.Incomplete {
				t.Fatalf("incomplete: %s", why)
			}
			for _, f := range r.Findings {
				if !f.Last.IsZero() && f.Kind == Lost {
					gotGone[f.Shard] += f.Count
					continue
				}
				k := dumbKey{f.Kind, f.Shard, f.Entry, f.Topic, f.Partition, f.Offset}
				if got[k] {
					t.Errorf("reported twice: %s", k)
				}
				got[k] = true
			}
		}
		for k := range want {
			kinds[k.kind]++
			if !got[k] {
				t.Errorf("not found: %s", k)
			}
		}
		for k := range got {
			if !want[k] {
				t.Errorf("found, and is not there: %s", k)
			}
		}
		if fmt.Sprint(gotGone) != fmt.Sprint(wantGone) {
			t.Errorf("gone by number: %v, want %v", gotGone, wantGone)
		}
	})
	t.Logf("findings by kind over all worlds: %v", kinds)
}
