package consistency

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/outbox"
)

// TestScenarios plays testdata/audits: what is in Redis and in Kafka, and what audits say about it.
// go test -run TestScenarios -rewrite writes what they say now.
//
// A file is one outbox. Its commands:
//
//	outbox shards=2 partitions=3      begins it; topic t.a has the partitions;
//	                                  t.b, other and dlq have one
//	redis                             changes streams, a line each:
//	  add SHARD ID KEY [topic=t.b] [payload=P] [bad]
//	  del SHARD ID                    as XDEL
//	  trim SHARD ID                   as XTRIM MINID
//	  back SHARD ID                   forgets all entries from ID on, as a restored backup
//	  read SHARD ID                   a consumer has read it and has not acknowledged it
//	kafka                             changes topics, a line each:
//	  put SHARD ID KEY [topic=T] [partition=N] [payload=P] [event=E] [repair]
//	  dead SHARD ID                   a dead letter
//	  position SHARD ID
//	  open TOPIC PARTITION OFFSET     a transaction is open there; 0: none is
//	  remove TOPIC PARTITION OFFSET   the records before the offset, as a retention
//	  hide TOPIC                      it may not be read; -: every topic may
//	  remake TOPIC                    deleted, and made again
//	audit [duplicates]                audits once; duplicates are allowed
//
// redis and kafka with wait=N change nothing at once, but when the next audit waits for the N-th
// time: the first wait is the settling time, the second that before a second look, or for what is
// undelivered.
func TestScenarios(t *testing.T) {
	t.Parallel()
	datadriven.Walk(t, "testdata/audits", func(t *testing.T, path string) {
		s := &scenario{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "outbox":
				s.begin(t, d)
			case "redis", "kafka":
				s.change(t, d)
			case "audit":
				return s.audit(t, d)
			default:
				d.Fatalf(t, "no command %s", d.Cmd)
			}
			return ""
		})
	})
}

// scenario is the outbox of a file.
type scenario struct {
	*auditor
	waiting map[int][]func() // what happens at the wait of a number
}

func (s *scenario) begin(t *testing.T, d *datadriven.TestData) {
	shards, partitions := 1, 1
	d.MaybeScanArgs(t, "shards", &shards)
	d.MaybeScanArgs(t, "partitions", &partitions)
	logs := &memoryLogs{byName: map[string][]*memoryPartition{}, positions: map[int]EntryID{}}
	logs.make("t.a", partitions)
	for _, name := range []string{"t.b", "other", "dlq"} {
		logs.make(name, 1)
	}
	s.auditor = newAuditor(&memoryStreams{shards: make([]memoryStream, shards)}, logs)
	s.settings.watch, s.settings.settle = []string{"t.*", "other"}, 30*time.Second
	s.waiting = map[int][]func(){}
	s.waits = func(n int) {
		for _, f := range s.waiting[n] {
			f()
		}
		delete(s.waiting, n)
	}
}

// change does what the lines of a command say, or leaves it to a wait.
func (s *scenario) change(t *testing.T, d *datadriven.TestData) {
	wait, command := 0, d.Cmd // d is used again for the next one
	d.MaybeScanArgs(t, "wait", &wait)
	for _, line := range strings.Split(d.Input, "\n") {
		l := parseLine(line)
		do := func() {
			t.Helper()
			switch command + " " + l.words[0] {
			case "redis add", "redis del", "redis trim", "redis back", "redis read":
				s.redis(&s.streams.shards[l.number(t, 1)], l.id(t, 2), l)
			case "kafka put", "kafka dead", "kafka position":
				s.kafka(l.number(t, 1), l.id(t, 2), l)
			case "kafka open", "kafka remove":
				s.partition(s.logs.byName[l.words[1]][l.number(t, 2)], int64(l.number(t, 3)), l)
			case "kafka hide":
				s.logs.hidden = l.words[1]
			case "kafka remake":
				s.logs.ids = map[string]string{l.words[1]: "another"}
				s.logs.byName[l.words[1]] = []*memoryPartition{{}}
			default:
				t.Fatalf("no change %q", line)
			}
		}
		if wait > 0 {
			s.waiting[wait] = append(s.waiting[wait], do)
		} else {
			do()
		}
	}
}

func (s *scenario) redis(stream *memoryStream, id EntryID, l line) {
	switch l.words[0] {
	case "add":
		if _, bad := l.options["bad"]; bad {
			stream.add(id, "some", "thing")
			return
		}
		stream.add(id, entryFields(l.option("event", "e"+id.String()),
			strings.TrimPrefix(l.option("topic", "t.a"), "t."), l.words[3], "created",
			l.option("payload", "p"))...)
	case "del":
		stream.del(id)
	case "trim":
		for len(stream.entries) > 0 && stream.entries[0].id.Less(id) {
			stream.entries = stream.entries[1:]
		}
	case "back":
		for n := len(stream.entries); n > 0 && !stream.entries[n-1].id.Less(id); n-- {
			stream.entries, stream.added = stream.entries[:n-1], stream.added-1
		}
		if n := len(stream.entries); n > 0 {
			stream.last = stream.entries[n-1].id
		}
	case "read":
		stream.inFlight = map[EntryID]bool{id: true}
	}
}

func (s *scenario) kafka(shard int, id EntryID, l line) {
	switch l.words[0] {
	case "put":
		name := l.option("topic", "t.a")
		partition, err := strconv.Atoi(
			l.option("partition",
				strconv.Itoa(outbox.Partition([]byte(l.words[3]), len(s.logs.byName[name])))))
		if err != nil {
			panic(err)
		}
		r := rawRecord(shard, id, l.option("event", "e"+id.String()), "created", l.words[3],
			l.option("payload", "p"))
		if _, repair := l.options["repair"]; repair {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: headerRepair, Value: []byte("1")})
		}
		s.logs.append(name, partition, r)
	case "dead":
		s.logs.append("dlq", 0, deadRecord(shard, id))
	case "position":
		s.logs.positions[shard] = id
	}
}

func (s *scenario) partition(p *memoryPartition, offset int64, l line) {
	switch l.words[0] {
	case "open":
		p.open = offset
	case "remove":
		p.start = offset
		for o := range offset {
			p.records[o] = nil
		}
	}
}

// audit says what an audit has found.
func (s *scenario) audit(t *testing.T, d *datadriven.TestData) string {
	s.allowDuplicates = d.HasArg("duplicates")
	r := mustRun(t, s.auditor)
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d entries, %d records", r.Verdict, r.Entries, r.Records)
	if r.DeadLetters > 0 {
		fmt.Fprintf(&b, ", %d dead letters", r.DeadLetters)
	}
	if r.Repaired > 0 {
		fmt.Fprintf(&b, ", %d repaired", r.Repaired)
	}
	b.WriteByte('\n')
	for _, f := range r.Findings {
		at := f.Entry.String()
		if !f.Last.IsZero() {
			at = fmt.Sprintf("%d of %s to %s", f.Count, f.Entry, f.Last)
		}
		fmt.Fprintf(&b, "%s: shard %d, %s", f.Kind, f.Shard, at)
		if f.Topic != "" {
			fmt.Fprintf(&b, ", %s/%d/%d", f.Topic, f.Partition, f.Offset)
		}
		fmt.Fprintf(&b, ": %s\n", f.Detail)
	}
	for _, why := range r.Incomplete {
		fmt.Fprintf(&b, "not compared: %s\n", why)
	}
	return b.String()
}

// line is a line of a command: words, and options with or without a value.
type line struct {
	words   []string
	options map[string]string
}

func parseLine(text string) line {
	l := line{options: map[string]string{}}
	for _, word := range strings.Fields(text) {
		name, value, found := strings.Cut(word, "=")
		if found || word == "bad" || word == "repair" {
			l.options[name] = value
		} else {
			l.words = append(l.words, word)
		}
	}
	return l
}

func (l line) option(name, otherwise string) string {
	if v, ok := l.options[name]; ok {
		return v
	}
	return otherwise
}

func (l line) id(t *testing.T, at int) EntryID {
	t.Helper()
	id, err := outbox.ParseEntryID(l.words[at])
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (l line) number(t *testing.T, at int) int {
	t.Helper()
	n, err := strconv.Atoi(l.words[at])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
