package consistency

import (
	"context"
	"fmt"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kgo"
)

// judgeOrder finds the order suspects that stand behind a later entry of their own key. The first record of an entry is looked at alone;
// another one is a duplicate already.
func (e *engine) judgeOrder(ctx context.Context, looks map[*doubt]*look) error {
	type place struct {
		partition int
		offset    int64
	}
	duplicate := map[place]bool{}
	for _, l := range looks {
		for _, f := range l.findings {
			if f.Kind == Duplicated || f.Kind == Misdirected {
				if k := e.topics[f.Topic]; k != nil {
					duplicate[place{k.first + int(f.Partition), f.Offset}] = true
				}
			}
		}
		for _, f := range l.strangers {
			if k := e.topics[f.topic]; k != nil {
				duplicate[place{k.first + int(f.partition), f.offset}] = true
			}
		}
	}
	type lane struct {
		shard int
		key   uint64
	}
	byPartition := map[int]map[lane]EntryID{} // the greatest entry so far of the keys that matter
	ends := map[int]int64{}
	suspects := map[place]int{} // by shard
	for _, s := range e.shards {
		for _, o := range s.orders {
			at := place{o.partition, o.offset}
			if duplicate[at] || s.upTo.Less(o.id) {
				continue
			}
			suspects[at] = s.number
			if byPartition[o.partition] == nil {
				byPartition[o.partition] = map[lane]EntryID{}
			}
			byPartition[o.partition][lane{s.number, o.key}] = EntryID{}
			ends[o.partition] = max(ends[o.partition], o.offset+1)
		}
	}
	for i, lanes := range byPartition {
		p := e.partitions[i]
		err := e.logs.read(ctx, p.topic.name, p.number, p.from, ends[i], func(r *kgo.Record) error {
			ref, ours, err := e.reference(p, r)
			if !ours || err != nil {
				return nil
			}
			l := lane{ref.shard, xxhash.Sum64(r.Key)}
			greatest, matters := lanes[l]
			if !matters {
				return nil
			}
			_, suspect := suspects[place{i, r.Offset}]
			if suspect && ref.id.Less(greatest) {
				f := Finding{Kind: Reordered, Shard: ref.shard, Entry: ref.id, Count: 1, Topic: p.topic.name, Partition: p.number, Offset: r.Offset}
				x := found{producer: r.ProducerID, epoch: r.ProducerEpoch}
				for _, h := range r.Headers {
					if h.Key == headerRepair {
						return nil // a repair says so
					}
					if h.Key == "id" || h.Key == "ce_id" {
						f.ID = string(h.Value)
					}
				}
				f.Detail = x.evidence(fmt.Sprintf("stands behind the record of entry %s, which has the same key", greatest))
				e.report.add(f)
			}
			lanes[l] = maxID(greatest, ref.id)
			return nil
		})
		if err != nil {
			return fmt.Errorf("topic %s, partition %d: %w", p.topic.name, p.number, err)
		}
	}
	return nil
}
