package consistency

import (
	"context"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kgo"
)

// overtaken is a record that is after the one of a later entry, by, with the same key.
type overtaken struct {
	record  found
	shard   int
	eventID string
	by      EntryID
}

// keyOfShard is a key, by its hash, of one shard: what has an order of its own.
type keyOfShard struct {
	shard int
	key   uint64
}

// orderCheck follows a partition for the records in it that may be out of order.
type orderCheck struct {
	suspects map[int64]bool         // their offsets
	greatest map[keyOfShard]EntryID // so far, of the keys that matter
	end      int64
}

// collectOrder reads the partitions again that have records which may be out of order, to see the
// order within each key.
func (c *collector) collectOrder(ctx context.Context,
	sides *collected,
) (all []overtaken, err error) {
	topics := c.topics.snapshot()
	for i, check := range sides.orderChecks(topics) {
		p := topics.partitions[i]
		err := c.readPartition(ctx, p, sides.partition(p).from, check.end,
			func(r *kgo.Record, ref reference) error {
				by, found := check.overtaken(r, ref)
				if !found {
					return nil
				}
				if o, counts := overtakenBy(p, r, ref, by); counts {
					all = append(all, o)
				}
				return nil
			})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// overtaken is given every record of a partition, in order.
func (c *orderCheck) overtaken(r *kgo.Record, ref reference) (by EntryID, yes bool) {
	k := keyOfShard{ref.shard, xxhash.Sum64(r.Key)}
	greatest, matters := c.greatest[k]
	if !matters {
		return EntryID{}, false
	}
	c.greatest[k] = maxID(greatest, ref.id)
	return greatest, c.suspects[r.Offset] && ref.id.Less(greatest)
}

// overtakenBy keeps the evidence. counts is false for what a repair has sent, which says so.
func overtakenBy(p *partition, r *kgo.Record, ref reference,
	by EntryID,
) (o overtaken, counts bool) {
	o = overtaken{shard: ref.shard, by: by, record: found{
		id: ref.id, topic: p.topic.name, partition: p.number, offset: r.Offset, producer: r.ProducerID,
		epoch: r.ProducerEpoch,
	}}
	for _, h := range r.Headers {
		switch h.Key {
		case headerRepair:
			return o, false
		case "id", "ce_id":
			o.eventID = string(h.Value)
		}
	}
	return o, true
}
