package relay

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/outbox"
)

// testPreparer prepares for topic "events", which has seven partitions and takes 10,000 bytes, and
// for dead letters; topic "absent" does not exist, any other cannot be asked for.
func testPreparer(t testing.TB, on ...Reason) *preparer {
	t.Helper()
	router, err := newRouter("events")
	if err != nil {
		t.Fatal(err)
	}
	known := func(info topicInfo) topicInfo { info.until = time.Now().Add(time.Hour); return info }
	return &preparer{
		shard: 3, deadLetter: DeadLetter{Topic: "letters", On: on}, router: router,
		quarantine: newQuarantine(),
		topics: &topics{known: map[string]topicInfo{
			"events":  known(topicInfo{exists: true, maxBytes: 10_000, partitions: 7}),
			"letters": known(topicInfo{exists: true, maxBytes: 1 << 20, partitions: 3}),
			"absent":  known(topicInfo{}),
		}},
		formatter: formatter{encoding: rawFormat{}, prefix: "orders/3/", now: time.Now},
	}
}

// raws gives entries the IDs 1-0, 2-0, …
func raws(fields ...[]byte) []rawEntry {
	entries := make([]rawEntry, len(fields))
	for i, f := range fields {
		entries[i] = rawEntry{outbox.EntryID{MS: uint64(i + 1)}, f}
	}
	return entries
}

func TestChunk(t *testing.T) {
	t.Parallel()
	p := testPreparer(t)
	entries := raws(with("id", "e-1"), with("id", "e-2", "headers", `{"a":"b"}`), with("id", "e-3"))
	c, err := p.chunk(t.Context(), entries)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.ids, []outbox.EntryID{{MS: 1}, {MS: 2}, {MS: 3}}) ||
		c.last() != (outbox.EntryID{MS: 3}) || c.fingerprint != fingerprint(entries[2].fields) ||
		c.halt != nil || len(c.dead) != 0 {
		t.Errorf("got %+v", c)
	}
	size := 0
	for i, r := range c.records {
		size += len(entries[i].fields)
		if header(r, "id") != fmt.Sprintf("e-%d", i+1) || r.Topic != "events" || entryOf(r) != c.ids[i] {
			t.Errorf("record %d: %s", i, show(r))
		}
	}
	if c.bytes != size || c.cost <= int64(size) {
		t.Errorf("the chunk says %d bytes and costs %d; the entries have %d", c.bytes, c.cost, size)
	}
}

// Nothing of a chunk is found in one that has its memory.
func TestChunkRecycled(t *testing.T) {
	t.Parallel()
	p := testPreparer(t, ReasonUndecodable)
	many := raws(with("id", "e-1", "headers", `{"a":"b","c":"d"}`, "key", "k", "more", "1"),
		with("colour", "red"), with("payload", ""), with())
	few := raws(with("id", "f-1", "payload", "f"), with("id", "f-2"))
	var first []string
	for range 100 {
		c, err := p.chunk(t.Context(), few)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.records[0]; got.Context != nil ||
			int(got.Partition) != outbox.Partition(got.Key, 7) || got.Offset != 0 || c.atEnd ||
			c.halt != nil || c.reply != nil || len(c.dead) != 0 {
			t.Fatalf("kept from an earlier chunk: %+v in %+v", got, c)
		}
		shown := []string{
			show(c.records[0]), show(c.records[1]),
			fmt.Sprint(c.ids, c.bytes, c.cost, len(c.records)),
		}
		if first == nil {
			first = shown
		} else if !slices.Equal(shown, first) {
			t.Fatalf("got %q, at first %q", shown, first)
		}
		c.recycle()
		if c, err = p.chunk(t.Context(), many); err != nil || len(c.dead) != 1 ||
			len(c.records) != len(many) {
			t.Fatalf("%+v, %v", c, err)
		}
		for _, r := range c.records { // as kgo leaves them
			r.Context, r.Partition, r.Offset, r.Attrs = t.Context(), 3, 4711, kgo.RecordAttrs{}
		}
		c.atEnd, c.reply = true, make([]byte, 10)
		c.recycle()
	}
}

// Consumers and other producers find a key's partition by Kafka's own default.
func TestPartitionIsKafkas(t *testing.T) {
	t.Parallel()
	theirs := kgo.StickyKeyPartitioner(nil).ForTopic("t") // murmur2 by default, as Java's
	for i := range 2000 {
		p := testPreparer(t, ReasonUndecodable)
		n := 1 + i%50
		for _, topic := range []string{"events", "letters"} {
			info := p.topics.known[topic]
			info.partitions = n
			p.topics.known[topic] = info
		}
		key := make([]byte, i%40)
		for j := range key {
			key[j] = byte(rand.Uint32())
		}
		c, err := p.chunk(t.Context(),
			raws(with("key", string(key)), with("key", string(key), "colour", "red")))
		if err != nil || len(c.records) != 2 {
			t.Fatalf("%d records, %v", len(c.records), err)
		}
		for _, r := range c.records {
			if got, want := int(r.Partition), theirs.Partition(r, n); got != want {
				t.Fatalf("topic %s, key %x of %d partitions: got %d, want %d", r.Topic, r.Key, n, got, want)
			}
		}
		c.recycle()
	}
}

func TestChunkDeadLetters(t *testing.T) {
	t.Parallel()
	entries := raws(
		with(),
		with("colour", "red"),
		with("payload", strings.Repeat("x", 12_000)),
		with("topic", ".."),
		with("topic", "absent"),
		with("id", "refused"),
		with(),
	)
	reasons := []Reason{
		ReasonUndecodable, ReasonTooLarge, ReasonNoRoute, ReasonUnknownTopic,
		ReasonRejected,
	}
	refusal := deadLetter{
		id: outbox.EntryID{MS: 6}, reason: ReasonRejected, detail: "INVALID_RECORD",
		topic: "events",
	}

	p := testPreparer(t, reasons...)
	p.quarantine.add(refusal)
	c, err := p.chunk(t.Context(), entries)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.ids) != 7 || len(c.records) != 7 || c.halt != nil {
		t.Fatalf("got %+v", c)
	}
	for i, reason := range reasons {
		r, raw := c.records[i+1], entries[i+1]
		if c.dead[i].reason != reason || c.dead[i].id != raw.id || c.dead[i].detail == "" {
			t.Errorf("%s: %+v", reason, c.dead[i])
		}
		if r.Topic != "letters" || header(r, "sluice-reason") != string(reason) ||
			header(r, "sluice-detail") != c.dead[i].detail || string(r.Value) != string(raw.fields) {
			t.Errorf("%s: %s", reason, show(r))
		}
	}
	for i, want := range map[int]string{1: "", 2: "events", 3: "", 4: "absent", 5: "events"} {
		if got := header(c.records[i], "sluice-topic"); got != want {
			t.Errorf("record %d: was to go to %q, want %q", i, got, want)
		}
	}

	// The same entries when a reason is not to be dead-lettered: everything before is delivered,
	// nothing after it.
	for i, reason := range reasons {
		p := testPreparer(t, slices.DeleteFunc(slices.Clone(reasons), func(r Reason) bool {
			return r == reason
		})...)
		p.quarantine.add(refusal)
		c, err := p.chunk(t.Context(), entries)
		if err != nil {
			t.Fatal(err)
		}
		if c.halt == nil || c.halt.Entry != entries[i+1].id || c.halt.Shard != 3 ||
			!strings.Contains(c.halt.Reason, string(reason)) ||
			!strings.Contains(c.halt.Reason, "Config.DeadLetter.On") {
			t.Errorf("%s: halt %v", reason, c.halt)
		}
		if len(c.ids) != i+1 || len(c.records) != i+1 || len(c.dead) != i || c.last() != entries[i].id ||
			c.fingerprint != fingerprint(entries[i].fields) {
			t.Errorf("%s: got %d entries, %d records, %d dead letters", reason, len(c.ids), len(c.records),
				len(c.dead))
		}
		if _, poison := p.quarantine.poison(refusal.id); poison != (reason != ReasonRejected) {
			t.Errorf("%s: the refused entry is poisoned: %v; when the shard halts for it it has to be "+
				"tried again", reason, poison)
		}
	}
}

func TestChunkHaltsAtFirst(t *testing.T) {
	t.Parallel()
	c, err := testPreparer(t).chunk(t.Context(), raws(with("colour", "red"), with()))
	if err != nil || c.halt == nil || len(c.ids) != 0 || len(c.records) != 0 || c.cost != 0 {
		t.Errorf("got %+v, %v", c, err)
	}
}

// Invariant 8: what a halt leaves must not begin in the middle of a group.
func TestChunkHaltKeepsGroupsWhole(t *testing.T) {
	t.Parallel()
	bad := with("colour", "red")
	for name, c := range map[string]struct {
		entries []rawEntry
		want    int
	}{
		"in the middle": {raws(with(), with("more", "2"), with("more", "1", "colour", "red"),
			with()), 1},
		"at the end": {raws(with(), with("more", "2"), with("more", "1"), bad, with()), 1},
		"at the beginning": {raws(with(), with("more", "2", "colour", "red"), with("more", "1"),
			with()), 1},
		"after a group":         {raws(with("more", "1"), with(), bad), 2},
		"in the first group":    {raws(with("more", "1"), bad), 0},
		"in a group of letters": {raws(with("more", "1", "topic", ".."), with("topic", ".."), bad), 2},
	} {
		got, err := testPreparer(t, ReasonNoRoute).chunk(t.Context(), c.entries)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.ids) != c.want || len(got.records) != c.want || got.halt == nil {
			t.Errorf("%s: %d entries and %d records are delivered, want %d; halt %v", name, len(got.ids),
				len(got.records), c.want, got.halt)
		}
		size := 0
		for _, e := range c.entries[:c.want] {
			size += len(e.fields)
		}
		if got.bytes != size {
			t.Errorf("%s: %d bytes, want %d", name, got.bytes, size)
		}
		if c.want > 0 && got.fingerprint != fingerprint(c.entries[c.want-1].fields) {
			t.Errorf("%s: the fingerprint is not that of entry %s", name, got.last())
		}
	}
}

func TestChunkLargeDeadLetter(t *testing.T) {
	t.Parallel()
	c, err := testPreparer(t, ReasonTooLarge).chunk(t.Context(),
		raws(with("payload", strings.Repeat("x", 3*deadLetterChunk))))
	if err != nil || len(c.ids) != 1 || len(c.records) != 4 {
		t.Fatalf("%d entries, %d records, %v", len(c.ids), len(c.records), err)
	}
	for _, r := range c.records {
		if entryOf(r) != c.ids[0] {
			t.Errorf("a chunk names entry %s", entryOf(r))
		}
	}
}

// A server that cannot be asked is no reason to dead-letter.
func TestChunkWithoutKafka(t *testing.T) {
	t.Parallel()
	inTestEnv(t, 1, func(t *testing.T, l *testEnv) {
		r, err := New(l.config())
		if err != nil {
			t.Fatal(err)
		}
		p := testPreparer(t, ReasonUndecodable, ReasonTooLarge, ReasonNoRoute, ReasonUnknownTopic,
			ReasonRejected)
		p.topics = newTopics(l.kafka, r.cfg.Topics, func() int { return 1 }, r.cfg.Logger)
		l.cluster.Close()
		c, err := p.chunk(t.Context(), raws(with(), with("topic", "not-asked-for")))
		var halt *HaltError
		if err == nil || errors.As(err, &halt) {
			t.Errorf("got %+v, %v", c, err)
		}
	})
}

func BenchmarkChunk(b *testing.B) {
	p := testPreparer(b)
	fields := with("payload", strings.Repeat("x", 200))
	entries := make([]rawEntry, 1000)
	for i := range entries {
		entries[i] = rawEntry{outbox.EntryID{MS: 1700000000000, Seq: uint64(i)}, fields}
	}
	b.SetBytes(int64(len(fields) * len(entries)))
	b.ReportAllocs()
	var last *kgo.Record
	for b.Loop() {
		c, err := p.chunk(b.Context(), entries)
		if err != nil {
			b.Fatal(err)
		}
		last = c.records[999]
		c.recycle()
	}
	_ = last
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/entry")
}
