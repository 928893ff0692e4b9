package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// chunk is a run of a shard's entries, read, decoded, routed and formatted: what travels from the reader to the
// sender. Unless a group is larger than a transaction may be, it holds whole groups (invariant 8).
type chunk struct {
	ids         []EntryID // ascending; the last is where the position will be
	fingerprint uint64    // of the last entry
	bytes       int       // as the entries stood in the stream
	cost        int64     // bytes this chunk holds of the relay's budget
	records     []*kgo.Record
	dead        []deadLetter
	// atEnd: nothing stood behind the last entry when it was read.
	atEnd bool
	// halt: the entry behind the last one cannot be delivered and policy is to stop there.
	halt *HaltError
}

func (c *chunk) last() EntryID { return c.ids[len(c.ids)-1] }

// entryOverhead is about what an entry costs beside its own bytes while it is a record.
const entryOverhead = 512

// preparer turns raw entries into chunks. It belongs to one goroutine.
type preparer struct {
	shard      int
	deadLetter DeadLetter
	topics     *topics
	router     *router
	formatter  formatter
	quarantine *quarantine
}

// chunk prepares entries. An error means that a server could not be asked; entries that cannot be delivered
// become dead letters, or a halt behind the last whole group that stands before them.
func (p *preparer) chunk(ctx context.Context, raws []rawEntry) (*chunk, error) {
	c := &chunk{ids: make([]EntryID, 0, len(raws)), records: make([]*kgo.Record, 0, len(raws))}
	records := make([]kgo.Record, len(raws))
	headers := make([]kgo.RecordHeader, 0, 4*len(raws))
	suspicious := !p.quarantine.empty()
	now := p.formatter.now()
	f := p.formatter
	f.now = func() time.Time { return now }
	var whole chunk // c as it was at the end of the last whole group
	var e entry
	for i, raw := range raws {
		r := &records[i]
		var (
			dead   deadLetter
			wanted string
			err    error
		)
		headers, wanted, dead, err = p.entry(ctx, &f, r, &e, raw, headers, suspicious)
		if err != nil {
			return nil, err
		}
		if dead.reason != "" && !slices.Contains(p.deadLetter.On, dead.reason) {
			*c = whole
			p.quarantine.reconsider(raw.id)
			c.halt = p.halt(dead)
			break
		}
		if dead.reason != "" {
			c.dead = append(c.dead, dead)
			c.records = append(c.records, deadLetterRecords(p.deadLetter.Topic, p.formatter.prefix, raw.fields, dead, wanted)...)
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
		"entry %s cannot be delivered: %s: %s; repair what it names, or add %q to relay.dead_letter.on, or pass over everything up to it with sluice resume --after %s",
		d.id, d.reason, d.detail, d.reason, d.id)}
}

func (p *preparer) entry(ctx context.Context, f *formatter, r *kgo.Record, e *entry, raw rawEntry, headers []kgo.RecordHeader, suspicious bool) (_ []kgo.RecordHeader, topic string, dead deadLetter, err error) {
	if suspicious {
		if d, ok := p.quarantine.verdict(raw.id); ok {
			_ = e.decode(raw) // for e.more
			return headers, d.topic, d, nil
		}
	}
	fail := func(reason Reason, detail error) ([]kgo.RecordHeader, string, deadLetter, error) {
		return headers, topic, deadLetter{id: raw.id, reason: reason, detail: detail.Error()}, nil
	}
	if err := e.decode(raw); err != nil {
		return fail(Undecodable, err)
	}
	if topic, err = p.router.topic(e); err != nil {
		return fail(NoRoute, err)
	}
	limit, err := p.topics.maxBytes(ctx, topic)
	var changed *topicChangeError
	switch {
	case errors.Is(err, errNoTopic):
		return fail(UnknownTopic, fmt.Errorf("topic %s does not exist", topic))
	case errors.Is(err, errBadTopic):
		return fail(NoRoute, fmt.Errorf("topic %s: %w", topic, err))
	case errors.As(err, &changed):
		return headers, topic, dead, &HaltError{Shard: p.shard, Entry: raw.id, Reason: changed.text}
	case err != nil:
		return headers, topic, dead, err
	}
	headers = f.record(r, e, topic, headers)
	if size := recordSize(r); size > limit {
		return fail(TooLarge, fmt.Errorf("the record has %d bytes, topic %s takes %d (max.message.bytes)", size, topic, limit))
	}
	return headers, topic, deadLetter{}, nil
}
