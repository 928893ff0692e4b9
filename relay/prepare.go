package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/outbox"
)

// chunk is a run of a shard's entries, read, decoded, routed and formatted. The reader hands it to
// the sender. Unless a group is larger than a transaction may be, it holds whole groups (invariant
// 8).
type chunk struct {
	ids         []outbox.EntryID // ascending; the last is where the position will be
	fingerprint uint64           // of the last entry
	bytes       int              // as the entries stood in the stream
	cost        int64            // bytes this chunk holds of the relay's budget
	position    Position         // after the last entry
	records     []*kgo.Record
	dead        []deadLetter
	// atEnd: the stream had nothing after the last entry when it was read.
	atEnd bool
	// halt: the entry after the last one cannot be delivered, and policy is to stop there.
	halt *HaltError

	// Backing memory of the records; see recycle.
	memory  []kgo.Record
	headers []kgo.RecordHeader
	reply   []byte // nil: not to be used again
}

func (c *chunk) last() outbox.EntryID { return c.ids[len(c.ids)-1] }

var chunkPool = sync.Pool{New: func() any { return new(chunk) }}

// newChunk returns a chunk with room for n entries.
func newChunk(n int) *chunk {
	c := chunkPool.Get().(*chunk)
	c.ids = slices.Grow(c.ids[:0], n)
	c.records = slices.Grow(c.records[:0], n)
	c.memory = slices.Grow(c.memory[:0], n)[:n]
	c.headers = slices.Grow(c.headers[:0], 4*n)
	return c
}

// recycle lets a later chunk reuse the memory of this one. Only a chunk whose records are all
// confirmed may be recycled: kgo may still have to send records of others. Clearing and collecting
// 700 bytes an entry would be a fifth of what an entry costs.
func (c *chunk) recycle() {
	recycleReply(c.reply)
	clear(c.dead)
	*c = chunk{ids: c.ids, records: c.records, memory: c.memory, headers: c.headers, dead: c.dead[:0]}
	chunkPool.Put(c)
}

// entryOverhead is about how many bytes an entry takes, beside its own, while it is a record.
const entryOverhead = 512

// preparer turns raw entries into chunks. It belongs to one goroutine.
type preparer struct {
	shard      int
	deadLetter DeadLetter
	topics     *topics
	router     *router
	formatter  formatter
	quarantine *quarantine
	// lastTopic and lastLimit are the answer of topics for the previous entry of the chunk.
	lastTopic string
	lastInfo  topicInfo
}

// chunk prepares entries. An error means that a server could not be asked. Entries that cannot be
// delivered become dead letters, or a halt after the last whole group before them.
func (p *preparer) chunk(ctx context.Context, raws []rawEntry) (*chunk, error) {
	c := newChunk(len(raws))
	p.lastTopic = ""
	suspicious := !p.quarantine.empty()
	now := p.formatter.now()
	f := p.formatter
	f.now = func() time.Time { return now }
	var whole chunk // c as it was at the end of the last whole group
	var e entry
	for i, raw := range raws {
		r := &c.memory[i]
		var (
			dead   deadLetter
			wanted string
			err    error
		)
		c.headers, wanted, dead, err = p.entry(ctx, &f, r, &e, raw, c.headers, suspicious)
		if err != nil {
			return nil, err
		}
		if dead.reason != "" && !slices.Contains(p.deadLetter.On, dead.reason) {
			*c = whole
			p.quarantine.remove(raw.id)
			c.halt = p.halt(dead)
			break
		}
		if dead.reason != "" {
			c.dead = append(c.dead, dead)
			letters := deadLetterRecords(p.deadLetter.Topic, p.formatter.prefix, raw.fields, dead, wanted)
			if err := p.place(ctx, letters); err != nil {
				return nil, err
			}
			c.records = append(c.records, letters...)
		} else {
			c.records = append(c.records, r)
		}
		c.ids = append(c.ids, raw.id)
		c.bytes += len(raw.fields)
		if e.more == 0 {
			whole = *c
		}
	}
	if n := len(c.ids); n > 0 {
		c.fingerprint = fingerprint(raws[n-1].fields)
	}
	c.cost = int64(c.bytes + entryOverhead*len(c.ids))
	return c, nil
}

func (p *preparer) halt(d deadLetter) *HaltError {
	return &HaltError{Shard: p.shard, Entry: d.id, Reason: fmt.Sprintf(
		"entry %s cannot be delivered: %s: %s; repair what it names, or add %q to "+
			"Config.DeadLetter.On, or pass over everything up to it with sluice resume --after %s",
		d.id, d.reason, d.detail, d.reason, d.id)}
}

func (p *preparer) entry(ctx context.Context, f *formatter, r *kgo.Record, e *entry, raw rawEntry,
	headers []kgo.RecordHeader, suspicious bool) (_ []kgo.RecordHeader, topic string, dead deadLetter,
	err error,
) {
	if suspicious {
		if d, ok := p.quarantine.poison(raw.id); ok {
			_ = e.decode(raw) // for e.more
			return headers, d.topic, d, nil
		}
	}
	fail := func(reason Reason, detail error) ([]kgo.RecordHeader, string, deadLetter, error) {
		return headers, topic, deadLetter{id: raw.id, reason: reason, detail: detail.Error()}, nil
	}
	if err := e.decode(raw); err != nil {
		return fail(ReasonUndecodable, err)
	}
	if topic, err = p.router.topic(e); err != nil {
		return fail(ReasonNoRoute, err)
	}
	info, err := p.info(ctx, topic)
	var changed *topicChangeError
	switch {
	case errors.Is(err, errNoTopic):
		return fail(ReasonUnknownTopic, fmt.Errorf("topic %s does not exist", topic))
	case errors.Is(err, errBadTopic):
		return fail(ReasonNoRoute, fmt.Errorf("topic %s: %w", topic, err))
	case errors.As(err, &changed):
		return headers, topic, dead, &HaltError{Shard: p.shard, Entry: raw.id, Reason: changed.text}
	case err != nil:
		return headers, topic, dead, err
	}
	if headers, err = f.record(ctx, r, e, topic, headers); err != nil {
		return headers, topic, dead, err
	}
	r.Partition = int32(outbox.Partition(r.Key, info.partitions))
	if size := recordSize(r); size > info.maxBytes {
		return fail(ReasonTooLarge,
			fmt.Errorf("the record has %d bytes, topic %s takes %d (max.message.bytes)", size, topic,
				info.maxBytes))
	}
	return headers, topic, deadLetter{}, nil
}

// info is topics.info, asked once for entries of one topic in a row.
func (p *preparer) info(ctx context.Context, topic string) (topicInfo, error) {
	if topic == p.lastTopic {
		return p.lastInfo, nil
	}
	info, err := p.topics.info(ctx, topic)
	if err == nil {
		p.lastTopic, p.lastInfo = topic, info
	}
	return info, err
}

// place chooses the partitions of dead letters.
func (p *preparer) place(ctx context.Context, letters []*kgo.Record) error {
	info, err := p.topics.info(ctx, p.deadLetter.Topic)
	var changed *topicChangeError
	if errors.As(err, &changed) {
		return &HaltError{Shard: p.shard, Reason: changed.text}
	}
	if err != nil {
		return fmt.Errorf("dead-letter topic %s: %w", p.deadLetter.Topic, err)
	}
	for _, r := range letters {
		r.Partition = int32(outbox.Partition(r.Key, info.partitions))
	}
	return nil
}
