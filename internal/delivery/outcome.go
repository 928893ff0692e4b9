package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-outbox/sluice/internal/kafkalog"
)

// outcome decides how a transaction ended that hangs in a shard's partition of the positions topic.
// It looks at all shards that share a data partition with it in the same transaction, so that the
// decision is the same whichever shard it is made for.
func (e *Engine) outcome(ctx context.Context, k keys, lane string,
	x openTransaction,
) (commit bool, err error) {
	d := &decision{
		engine: e, lane: lane, producer: x.producer, shards: map[int]bool{},
		data: map[place][]*kgo.Record{},
	}
	d.visit(k.shard, func(r *kgo.Record, _ *Position) bool { return r.Offset >= x.first })
	for len(d.todo) > 0 {
		next := d.todo[0]
		d.todo = d.todo[1:]
		if err := d.look(ctx, keys{k.outbox, k.topic, next.shard}, next.in); err != nil {
			return false, err
		}
		if d.known {
			return d.commit, nil
		}
	}
	return d.complete(), nil
}

// decision collects what is known of one transaction.
type decision struct {
	engine   *Engine
	lane     string
	producer int64
	shards   map[int]bool
	todo     []visit
	parts    []positionPart
	data     map[place][]*kgo.Record // where it is open
	known    bool                    // a marker or a later record has shown it
	commit   bool
}

// positionPart is what the transaction holds of a shard; record is nil if it has no position, so
// that it is not complete.
type positionPart struct {
	shard    int
	record   *Position
	previous json.RawMessage
}

// visit is a shard to look at. in reports whether a position record of the producer belongs to the
// transaction: one id writes many.
type visit struct {
	shard int
	in    func(r *kgo.Record, p *Position) bool
}

func (d *decision) visit(shard int, in func(*kgo.Record, *Position) bool) {
	if !d.shards[shard] {
		d.shards[shard] = true
		d.todo = append(d.todo, visit{shard, in})
	}
}

func (d *decision) tell(commit bool) { d.known, d.commit = true, commit }

// look adds a shard's position in the transaction, and the data that it names.
func (d *decision) look(ctx context.Context, k keys, in func(*kgo.Record, *Position) bool) error {
	records, err := d.engine.readAll(ctx, place{k.topic, int32(k.shard)}, 0)
	if err != nil {
		return err
	}
	part := positionPart{shard: k.shard}
	at := -1
	for i, r := range records {
		if r.ProducerID != d.producer || r.Attrs.IsControl() {
			continue
		}
		var p *Position
		if k.isPosition(r) && r.Value != nil {
			if p, err = ParsePosition(r.Value); err != nil {
				return err
			}
		}
		if !in(r, p) {
			continue
		}
		at = i
		if p != nil {
			part.record = p
		}
	}
	if at < 0 {
		d.parts = append(d.parts, part) // its position was never written
		return nil
	}
	for _, r := range records[at+1:] {
		switch {
		case r.Attrs.IsControl() && r.ProducerID == d.producer:
			d.tell(isCommitMarker(r))
			return nil
		case !r.Attrs.IsControl() && r.ProducerID != d.producer && k.author(r) == d.lane:
			d.tell(true) // the other id's turn
			return nil
		}
	}
	if part.record == nil {
		d.parts = append(d.parts, part) // claims alone: nothing was delivered on their strength
		return nil
	}
	before, _, err := d.engine.reader.ledger(ctx, k)
	if err != nil {
		return err
	}
	if before.last != nil {
		p, err := ParsePosition(before.last.Value)
		if err != nil {
			return err
		}
		part.previous = p.Position
	}
	d.parts = append(d.parts, part)
	return d.lookAtData(ctx, part)
}

// lookAtData reads the partitions that a position names.
func (d *decision) lookAtData(ctx context.Context, part positionPart) error {
	topics := part.record.Wrote.topics()
	if len(topics) == 0 {
		return nil
	}
	open, unknown, err := d.engine.openIn(ctx, topics...)
	if err != nil {
		return err
	}
	for at, err := range unknown {
		if part.record.Wrote.has(at) {
			return fmt.Errorf("%v: %w", at, err)
		}
	}
	for _, x := range open {
		if _, known := d.data[x.place]; known || x.producer != d.producer ||
			!part.record.Wrote.has(x.place) {
			continue
		}
		records, err := d.engine.readAll(ctx, x.place, x.first)
		if err != nil {
			return err
		}
		records = slices.DeleteFunc(records, func(r *kgo.Record) bool {
			return r.ProducerID != d.producer || r.Attrs.IsControl()
		})
		d.data[x.place] = records
		for _, r := range records {
			if shard, ok := d.engine.cfg.Origin(r); ok {
				d.visit(shard, func(_ *kgo.Record, p *Position) bool {
					return p != nil && d.engine.cfg.Covers(p.Position, r)
				})
			}
		}
	}
	places, err := d.engine.expand(ctx, part.record.Wrote)
	if err != nil {
		return err
	}
	for _, at := range places {
		if _, open := d.data[at]; open {
			continue
		}
		if err := d.lookForMarker(ctx, part, at); err != nil || d.known {
			return err
		}
	}
	return nil
}

// expand lists partitions one by one. A topic without partitions means all of them.
func (e *Engine) expand(ctx context.Context, p Places) (places []place, err error) {
	for topic, partitions := range p {
		if len(partitions) == 0 {
			found, err := kafkalog.Leaders(ctx, e.cfg.Client, topic)
			if err != nil {
				return nil, err
			}
			if t := found[topic]; t != nil {
				for n := range t.Partitions {
					places = append(places, place{topic, int32(n)})
				}
			}
		}
		for _, n := range partitions {
			places = append(places, place{topic, n})
		}
	}
	return places, nil
}

// lookForMarker looks for the marker that ended the transaction, in a partition where it is not
// open.
func (d *decision) lookForMarker(ctx context.Context, part positionPart, at place) error {
	log, err := d.engine.open(ctx, at)
	if err != nil {
		return err
	}
	last, err := log.Last(ctx, func(r *kgo.Record) bool {
		return r.ProducerID == d.producer && !r.Attrs.IsControl() && d.in(part, r)
	})
	if err != nil || last == nil {
		return err // nothing of it was written here
	}
	_, err = log.Scan(ctx, last.Offset+1, func(r *kgo.Record) {
		if !d.known && r.ProducerID == d.producer && r.Attrs.IsControl() {
			d.tell(isCommitMarker(r))
		}
	})
	return err
}

// in reports whether a record belongs to a part: it is of the part's shard, at or below its
// position, and after the position before.
func (d *decision) in(part positionPart, r *kgo.Record) bool {
	shard, ok := d.engine.cfg.Origin(r)
	covers := d.engine.cfg.Covers
	return ok && shard == part.shard && part.record != nil && covers(part.record.Position, r) &&
		(part.previous == nil || !covers(part.previous, r))
}

// complete reports whether every part has all the records that its position counts.
func (d *decision) complete() bool {
	for _, part := range d.parts {
		if part.record == nil {
			return false
		}
		n := 0
		for _, records := range d.data {
			for _, r := range records {
				if d.in(part, r) {
					n++
				}
			}
		}
		if n != part.record.Records {
			return false
		}
	}
	return true
}

// isCommitMarker reads the key of a marker: version and type, 16 bits each; type 0 is an abort, 1 a
// commit.
func isCommitMarker(r *kgo.Record) bool { return len(r.Key) >= 4 && r.Key[2] == 0 && r.Key[3] == 1 }
