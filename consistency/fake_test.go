package consistency

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/outbox"
)

// memoryStreams are streams without a server. They count additions as Redis does.
type memoryStreams struct {
	shards []memoryStream
	after  func(to EntryID) // called after a range was read, if not nil
}

type memoryStream struct {
	missing    bool
	entries    []rawEntry
	last       EntryID
	added      int64
	maxDeleted EntryID
	inFlight   map[EntryID]bool // pending in the consumer group
}

func raw(id EntryID, fields ...string) rawEntry {
	r := rawEntry{id: id}
	for _, f := range fields {
		r.fields = append(r.fields, []byte(f))
		r.raw = append(r.raw, f...)
		r.raw = append(r.raw, 0)
	}
	return r
}

func (m *memoryStream) add(id EntryID, fields ...string) {
	m.entries = append(m.entries, raw(id, fields...))
	m.last = id
	m.added++
}

func (m *memoryStream) del(id EntryID) {
	m.entries = slices.DeleteFunc(m.entries, func(e rawEntry) bool { return e.id == id })
	m.maxDeleted = maxID(m.maxDeleted, id)
}

func (m *memoryStreams) state(_ context.Context, shard int) (streamState, error) {
	s := &m.shards[shard]
	st := streamState{
		exists: !s.missing, last: s.last, length: int64(len(s.entries)), counted: true,
		added: s.added, maxDeleted: s.maxDeleted,
	}
	if len(s.entries) > 0 {
		st.first = s.entries[0].id
	}
	return st, nil
}

func (m *memoryStreams) read(_ context.Context, shard int, after, to EntryID,
	fn func(rawEntry) error,
) error {
	if m.after != nil {
		defer m.after(to)
	}
	for _, e := range m.shards[shard].entries {
		if !after.Less(e.id) || to.Less(e.id) {
			continue
		}
		if err := fn(e); errors.Is(err, errStop) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (m *memoryStreams) pending(_ context.Context, shard int, id EntryID) (bool, error) {
	return m.shards[shard].inFlight[id], nil
}

// memoryLogs are topics without a broker. A nil record is a marker of a transaction.
type memoryLogs struct {
	byName    map[string][]*memoryPartition
	positions map[int]EntryID
	fail      func(topic string, partition int32, offset int64) error
	hidden    string            // a topic that may not be read
	ids       map[string]string // of topics that were made again
}

type memoryPartition struct {
	start int64
	// by shard: records of later entries may have been before start, and gone before they were audited
	since   map[int]EntryID
	open    int64 // where a transaction that is open begins; 0: there is none
	records []*kgo.Record
}

func (m *memoryLogs) make(name string, partitions int) {
	for range partitions {
		m.byName[name] = append(m.byName[name], &memoryPartition{})
	}
}

func (m *memoryLogs) append(name string, partition int, r *kgo.Record) int64 {
	p := m.byName[name][partition]
	if r != nil {
		r.Topic, r.Partition, r.Offset = name, int32(partition), int64(len(p.records))
	}
	p.records = append(p.records, r)
	return int64(len(p.records)) - 1
}

func (m *memoryLogs) topics(_ context.Context, names, patterns []string) ([]topic, error) {
	var out []topic
	for name, p := range m.byName {
		wanted := slices.Contains(names, name)
		for _, pattern := range patterns {
			ok, _ := path.Match(pattern, name)
			wanted = wanted || ok
		}
		switch {
		case name == m.hidden && slices.Contains(names, name):
			out = append(out, topic{name: name, problem: "it may not be read", hidden: true})
		case wanted && name != m.hidden:
			out = append(out, topic{name: name, id: cmp.Or(m.ids[name], name), partitions: len(p)})
		}
	}
	for _, name := range names {
		if m.byName[name] == nil {
			out = append(out, topic{name: name, problem: "it does not exist"})
		}
	}
	slices.SortFunc(out, func(a, b topic) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return out, nil
}

func (m *memoryLogs) bounds(_ context.Context, names []string) (map[string][]bounds, error) {
	out := map[string][]bounds{}
	for _, name := range names {
		for _, p := range m.byName[name] {
			b := bounds{p.start, int64(len(p.records)), int64(len(p.records))}
			if p.open > 0 {
				b.end = p.open
			}
			out[name] = append(out[name], b)
		}
	}
	return out, nil
}

func (m *memoryLogs) read(_ context.Context, name string, partition int32, from, to int64,
	fn func(*kgo.Record) error,
) error {
	if from < m.byName[name][partition].start {
		return errors.New("the offset is out of range")
	}
	for o := from; o < to; o++ {
		if m.fail != nil {
			if err := m.fail(name, partition, o); err != nil {
				return err
			}
		}
		r := m.byName[name][partition].records[o]
		if r == nil {
			continue
		}
		if err := fn(r); errors.Is(err, errStop) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (m *memoryLogs) position(_ context.Context, shard int) (EntryID, error) {
	return m.positions[shard], nil
}

func (m *memoryLogs) losesRecords(context.Context, string) (string, error) { return "", nil }

// rawRecord is the record of an event in the raw format, made without any code of this package.
func rawRecord(shard int, id EntryID, event, eventType, key, payload string) *kgo.Record {
	return &kgo.Record{Key: []byte(key), Value: []byte(payload), Headers: []kgo.RecordHeader{
		{Key: "id", Value: []byte(event)},
		{Key: "type", Value: []byte(eventType)},
		{Key: "tenant", Value: []byte("x")},
		{Key: "sluice-entry", Value: []byte(fmt.Sprintf("o/%d/%d-%d", shard, id.MS, id.Seq))},
	}}
}

func entryFields(event, aggregateType, key, eventType, payload string) []string {
	return []string{
		outbox.FieldID, event, outbox.FieldAggregateType, aggregateType, outbox.FieldAggregateID, key,
		outbox.FieldType, eventType,
		outbox.FieldPayload, payload, outbox.FieldHeaders, `{"tenant":"x"}`,
	}
}

func deadRecord(shard int, id EntryID) *kgo.Record {
	return &kgo.Record{
		Key:   []byte("o/" + strconv.Itoa(shard) + "/" + id.String()),
		Value: []byte("*0\r\n"), Headers: []kgo.RecordHeader{
			{Key: "sluice-entry", Value: []byte(fmt.Sprintf("o/%d/%d-%d", shard, id.MS, id.Seq))},
			{Key: "sluice-reason", Value: []byte("undecodable")},
		},
	}
}

// lateLogs calls before each time the ends of partitions are asked for.
type lateLogs struct {
	*memoryLogs
	before func()
}

func (l *lateLogs) bounds(ctx context.Context, names []string) (map[string][]bounds, error) {
	l.before()
	return l.memoryLogs.bounds(ctx, names)
}
